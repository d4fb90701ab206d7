// node run.mjs <micropython.mjs> <folder> <module>: the folder's files into MicroPython's file system, then import the module.
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const [micropython, folder, name] = process.argv.slice(2);
const { loadMicroPython } = await import(pathToFileURL(micropython).href);
const mp = await loadMicroPython({ heapsize: 16 * 1024 * 1024, linebuffer: true, stdout: (line) => console.log(line) });

function copy(from, to) {
  for (const entry of readdirSync(from, { withFileTypes: true })) {
    if (entry.isDirectory()) {
      mp.FS.mkdir(`${to}/${entry.name}`);
      copy(join(from, entry.name), `${to}/${entry.name}`);
    } else {
      mp.FS.writeFile(`${to}/${entry.name}`, readFileSync(join(from, entry.name)));
    }
  }
}

copy(folder, "");
mp.runPython(`import sys\nsys.path.insert(0, "/")\nimport ${name}\n`);
