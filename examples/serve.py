"""A SavedModel with derivatives behind a small HTTP server.

    python examples/serve.py slope 8501
    curl -d '{"instances": [[0.5, -0.25]]}' localhost:8501

answers with every output of the model, as TensorFlow Serving does:

    {"predictions": {"slope": [[...]], "u": [[...]]}}

Needs TensorFlow alone: neither Keras nor keras_derivs is imported. It listens on this machine only;
for more than a demonstration take TensorFlow Serving, which reads the same folder.
"""

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import tensorflow as tf

MAX_BYTES = 2**20  # of one request


def predictor(path):
    """A function from nested lists of numbers to the model's outputs, by name."""
    loaded = tf.saved_model.load(path)
    function = loaded.signatures["serving_default"]
    ((name, spec),) = function.structured_input_signature[1].items()

    def predict(instances):
        x = tf.constant(instances, spec.dtype)
        if not spec.shape.is_compatible_with(x.shape):
            raise ValueError(f"needs instances of shape {spec.shape}, got {x.shape}")
        return {key: value.numpy().tolist() for key, value in function(**{name: x}).items()}

    # its variables live as long as it does
    predict.loaded = loaded  # pyright: ignore[reportFunctionMemberAccess]
    return predict


def handler(predict):
    """A class of request handlers that answer with what `predict` returns."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            try:
                size = int(self.headers.get("Content-Length", 0))
                if size > MAX_BYTES:
                    raise ValueError(f"needs at most {MAX_BYTES} bytes")
                instances = json.loads(self.rfile.read(size))["instances"]
                self.answer(200, {"predictions": predict(instances)})
            except (KeyError, TypeError, ValueError) as error:
                self.answer(400, {"error": f"{type(error).__name__}: {error}"})

        def answer(self, status, content):
            body = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format, *arguments):
            """Say nothing of each request."""

    return Handler


def server(path, port):
    """A server of the model in that folder, on this machine's own address; 0 takes a free port."""
    return ThreadingHTTPServer(("127.0.0.1", port), handler(predictor(path)))


if __name__ == "__main__":
    with server(sys.argv[1], int(sys.argv[2])) as running:
        print(f"listening on port {running.server_address[1]}", flush=True)
        running.serve_forever()
