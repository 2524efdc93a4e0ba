// Checks objects of the Prometheus operator by the operator's own definitions: node validate.mjs FOLDER-WITH-NODE_MODULES.
// In: one JSON object a line on standard input. Out: `LINE what is wrong`; exit status 1 when something is.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

const version = '@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1/index.js';
const definitions = await import(pathToFileURL(join(process.argv[2], 'node_modules', version)));

let wrong = 0;
const say = (number, sentence) => {
  wrong += 1;
  console.log(`${number} ${sentence.replaceAll('\n', ' ')}`);
};
readFileSync(0, 'utf8').split('\n').forEach((line, number) => {
  const item = JSON.parse(line);
  const Definition = definitions[item.kind];
  if (Definition === undefined) {
    say(number, `${item.kind}: the operator has no such kind`);
    return;
  }
  try {
    new Definition(item).validate();
  } catch (error) {
    say(number, `${item.kind} ${item.metadata.name}: ${error.message}`);
  }
});
process.exitCode = wrong ? 1 : 0;
