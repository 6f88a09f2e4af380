// Value and slope of a network, from a file that `keras_derivs.export` wrote.
//
//   npm install --ignore-scripts
//   node slope.js slope.onnx 0.5 -0.25        one sample: the numbers are its features
//
// Prints one line of JSON: every output of the model by its name.

const ort = require("onnxruntime-node");

async function main(path, features) {
  const session = await ort.InferenceSession.create(path);
  const [input] = session.inputNames;
  const sample = new ort.Tensor("float32", Float32Array.from(features), [1, features.length]);
  const outputs = await session.run({ [input]: sample });
  const found = {};
  for (const name of session.outputNames) {
    found[name] = Array.from(outputs[name].data);
  }
  console.log(JSON.stringify(found));
}

const [path, ...features] = process.argv.slice(2);
main(path, features.map(Number)).catch((error) => {
  console.error(error.message);
  process.exit(1);
});
