// Bundles TypeScript of this repository for Node, where Node 20 cannot run it directly: our own
// packages are taken from their sources (the condition `@sandbox-ssh/source`), everything from npm
// stays outside and is found in node_modules at run time.

import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { dirname, join, relative, resolve } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import * as esbuild from 'esbuild'

/** The repository's folder, without a slash at its end. */
export const root = resolve(fileURLToPath(new URL('..', import.meta.url)))

/** The condition under which our packages resolve to their TypeScript sources. */
export const sourceCondition = '@sandbox-ssh/source'

/**
 * @typedef {object} Bundled
 * @property {string} output Path of the program to run.
 * @property {readonly string[]} imports Names of everything imported from outside the bundle, by
 *   the entry and all that it imports: `node:fs`, `uvu`…
 * @property {readonly string[]} sources Paths, relative to the root, of all sources in it.
 */

/**
 * A fresh folder `.build/NAME-PID`, removed when this process ends. Folders that a killed run left
 * behind are removed as well.
 * @param {string} name
 * @returns {string}
 */
export function scratch(name) {
  const parent = join(root, '.build')
  mkdirSync(parent, { recursive: true })
  for (const entry of readdirSync(parent)) {
    const pid = Number(/-(\d+)$/.exec(entry)?.[1])
    if (pid > 0 && !isAlive(pid)) rmSync(join(parent, entry), { recursive: true, force: true })
  }
  const folder = join(parent, `${name}-${process.pid}`)
  mkdirSync(folder, { recursive: true })
  process.once('exit', () => rmSync(folder, { recursive: true, force: true }))
  return folder
}

/** @param {number} pid @returns {boolean} */
function isAlive(pid) {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return /** @type {NodeJS.ErrnoException} */ (error).code === 'EPERM'
  }
}

/**
 * Bundles each entry into a module under `outdir`; what several share becomes a chunk of its own.
 * Rejects with the compiler's messages, ready to print.
 * @param {{ entries: readonly string[], outdir: string }} options
 * @returns {Promise<Map<string, Bundled>>} by absolute entry path
 */
export async function bundle({ entries, outdir }) {
  let result
  try {
    result = await esbuild.build({
      entryPoints: [...entries],
      absWorkingDir: root,
      outdir,
      outbase: root,
      outExtension: { '.js': '.mjs' },
      bundle: true,
      splitting: true,
      platform: 'node',
      format: 'esm',
      target: 'node20',
      conditions: [sourceCondition],
      sourcemap: 'linked',
      metafile: true,
      logLevel: 'silent',
      plugins: [npmStaysOutside, modulesKnowTheirSource],
    })
  } catch (error) {
    const { errors } = /** @type {esbuild.BuildFailure} */ (error)
    if (!Array.isArray(errors)) throw error
    const messages = await esbuild.formatMessages(errors, { kind: 'error' })
    throw new Error(`could not be bundled\n${messages.join('')}`)
  }
  const wanted = new Set(entries)
  /** @type {Map<string, Bundled>} */
  const bundled = new Map()
  for (const [path, output] of Object.entries(result.metafile.outputs)) {
    // Modules that are imported at run time count as entry points to esbuild.
    if (output.entryPoint === undefined || !wanted.has(resolve(root, output.entryPoint))) continue
    const reached = closure(result.metafile, output.entryPoint)
    bundled.set(resolve(root, output.entryPoint), { output: resolve(root, path), ...reached })
  }
  return bundled
}

/**
 * @param {esbuild.Metafile} metafile
 * @param {string} entry
 */
function closure(metafile, entry) {
  const imports = new Set()
  const sources = new Set([entry])
  for (const source of sources) {
    for (const { path, external } of metafile.inputs[source]?.imports ?? []) {
      if (external) imports.add(path)
      else sources.add(path)
    }
  }
  return { imports: [...imports], sources: [...sources] }
}

/** @type {esbuild.Plugin} */
const npmStaysOutside = {
  name: 'npm stays outside',
  setup(build) {
    build.onResolve({ filter: /^[^./]/ }, ({ path, resolveDir, kind }) => {
      if (kind === 'entry-point' || path.startsWith('@sandbox-ssh/')) return undefined
      if (path.startsWith('node:')) return { path, external: true }
      return { path: nested(path, resolveDir) ?? path, external: true }
    })
  },
}

/**
 * Where npm put a package beside the workspace that wants it instead of at the root, a bare name
 * would not be found from the bundle.
 * @param {string} name
 * @param {string} from
 * @returns {string | undefined}
 */
function nested(name, from) {
  const packageName = name.split('/', name.startsWith('@') ? 2 : 1).join('/')
  for (let folder = from; folder !== root; folder = dirname(folder)) {
    if (dirname(folder) === folder) return undefined
    if (existsSync(join(folder, 'node_modules', packageName))) {
      throw new Error(`${packageName} is installed below ${relative(root, folder)}: align versions`)
    }
  }
  return undefined
}

/**
 * `import.meta.url` and its relatives keep naming the source, so that a program finds the files
 * beside it.
 * @type {esbuild.Plugin}
 */
const modulesKnowTheirSource = {
  name: 'modules know their source',
  setup(build) {
    build.onLoad({ filter: /\.(ts|mjs)$/ }, ({ path }) => {
      if (!path.startsWith(root)) return undefined
      const text = readFileSync(path, 'utf8')
      const loader = path.endsWith('.ts') ? 'ts' : 'js'
      // Patterns rather than strings, which this very file would have replaced when it is bundled.
      const contents = text
        .replaceAll(/\bimport\.meta\.url\b/g, JSON.stringify(pathToFileURL(path).href))
        .replaceAll(/\bimport\.meta\.dirname\b/g, JSON.stringify(dirname(path)))
        .replaceAll(/\bimport\.meta\.filename\b/g, JSON.stringify(path))
      return { contents, loader }
    })
  },
}
