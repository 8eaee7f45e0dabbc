// Samples made into programs: one file each, checked by the compiler all at once, bundled all at
// once, and run one after the other, most of them in this process.

import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join, relative } from 'node:path'
import { pathToFileURL } from 'node:url'
import { run } from '../../conformance/peers/run.ts'
import { Terminal } from '../../conformance/peers/terminal.ts'
import { bundle, root } from '../bundle.mjs'
import { findRuntime, runtimeCommands } from '../runtimes.ts'
import { type Sample, stageOf } from './samples.ts'

/** A sample as a file. */
export interface SampleProgram {
  readonly sample: Sample
  readonly path: string
}

/** What a sample did. */
export interface SampleRun {
  readonly printed: string
  readonly error: unknown
}

/** No sample takes longer. */
const LIMIT_MS = 30_000

const prelude = join(root, 'docs/prelude.ts')
/** What samples for Deno use of it, for the compiler. */
const DENO = `interface DenoListener {
  readonly addr: { readonly port: number }
  accept(): Promise<import('@sandbox-ssh/protocol').DenoConn>
  close(): void
}
declare const Deno: {
  listen(options: { hostname: string; port: number }): DenoListener
  connect(options: {
    hostname: string
    port: number
  }): Promise<import('@sandbox-ssh/protocol').DenoConn>
}
`
/** The prelude's function that ends what a sample has left. */
const END = 'closeAll'

/** Writes the samples in TypeScript into `folder`, each with what it uses of the prelude. */
export function writePrograms(samples: readonly Sample[], folder: string): SampleProgram[] {
  const exported = readFileSync(prelude, 'utf8').matchAll(/^export async function (\w+)/gm)
  const preludeNames = [...exported].map((match) => match[1] ?? '').filter((name) => name !== END)
  mkdirSync(folder, { recursive: true })
  const config = {
    extends: relative(folder, join(root, 'tsconfig.tests.json')),
    compilerOptions: { noUnusedLocals: false, noUnusedParameters: false },
    include: ['*.ts'],
  }
  writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify(config))
  writeFileSync(join(folder, 'deno.d.ts'), DENO)
  writeFileSync(join(folder, 'prelude.ts'), `export * from '${relative(folder, prelude)}'\n`)
  return samples.flatMap((sample) => {
    if (sample.language !== 'ts') return []
    const name = `${sample.file.replaceAll(/[^\w-]/g, '-')}-${sample.line}.ts`
    const used = preludeNames.filter((each) => uses(sample.code, each))
    // On one line, so that the compiler's line numbers are one more than the sample's.
    const head = used.map((each) => `const ${each} = await prelude.${each}()`).join('; ')
    const imported = used.length > 0 ? `import * as prelude from './prelude.ts'; ${head}` : ''
    writeFileSync(join(folder, name), `${imported}\n${sample.code}\nexport {}\n`)
    return [{ sample, path: join(folder, name) }]
  })
}

/** Whether code uses a name that it does not declare. */
function uses(code: string, name: string): boolean {
  const imported = new RegExp(`^import [^']*\\b${name}\\b[^']*'`, 'm')
  const declared = new RegExp(
    `\\b(?:const|let|using|function) (?:${name}\\b|[{[][^}\\]]*\\b${name}\\b)` +
      `|\\([^()]*\\b${name}\\b[^()]*\\)(?:: [^=]*)? =>`,
  )
  if (imported.test(code) || declared.test(code)) return false
  const plain = code.replaceAll(/\/\/.*$|'[^'\n]*'/gm, '')
  return new RegExp(`(?<!\\.)\\b${name}\\b(?!['?]?:)`).test(plain)
}

/** What the compiler has to say of the samples, as `file:line: message`. */
export async function typeErrors(
  programs: readonly SampleProgram[],
  folder: string,
): Promise<string[]> {
  const tsc = join(root, 'node_modules/.bin/tsc')
  const { code, stdout, stderr } = await run([tsc, '--pretty', 'false', '--project', folder], {
    cwd: folder,
    limitMs: 300_000,
  })
  const byName = new Map(programs.map(({ sample, path }) => [relative(folder, path), sample]))
  const lines = `${stdout.toString()}${stderr}`.split('\n').filter((line) => line !== '')
  if (code !== 0 && lines.length === 0) return [`the compiler ended with ${code}`]
  return lines.map((line) => {
    const [, name = '', row = '0', rest] = /^([^(]+)\((\d+),\d+\): (.*)/.exec(line) ?? []
    const sample = byName.get(name)
    return sample === undefined ? line : `${sample.file}:${sample.line + Number(row) - 2}: ${rest}`
  })
}

/** Bundles the programs; the result runs one of them, where it wants to be run. */
export async function loadPrograms(
  programs: readonly SampleProgram[],
  folder: string,
): Promise<(program: SampleProgram) => Promise<SampleRun>> {
  const shared = join(folder, 'prelude.ts')
  const entries = [...programs.map(({ path }) => path), shared]
  const outputs = await bundle({ entries, outdir: join(folder, 'out') })
  const outputOf = (path: string): string => outputs.get(path)?.output ?? ''
  const load = async (path: string): Promise<{ [END]?: () => Promise<void> }> =>
    import(pathToFileURL(outputOf(path)).href)
  const { [END]: closeAll } = await load(shared)
  return async ({ path, sample }) => {
    const stage = stageOf(sample)
    if (stage.kind === 'terminal') return inTerminal(outputOf(path), stage.typed)
    if (stage.kind === 'runtime') return withRuntime(stage.runtime, outputOf(path))
    return captured(async () => {
      try {
        await load(path)
      } finally {
        await closeAll?.()
      }
    })
  }
}

/** Runs a program with another runtime. An error if that is not there. */
export async function withRuntime(runtime: string, path: string): Promise<SampleRun> {
  const [name = runtime, ...args] = runtimeCommands[runtime] ?? []
  const found = findRuntime(name)
  const missing = `${runtime} is not installed (npm ci --prefix conformance/runtimes)`
  if (found === undefined) return { printed: '', error: new Error(missing) }
  const { code, stdout, stderr } = await run([found, ...args, path], {
    limitMs: LIMIT_MS,
    // Deno takes any value of it for a yes.
    env: { FORCE_COLOR: '' },
  })
  const error = code === 0 ? undefined : new Error(`ended with ${code}: ${stderr}`)
  return { printed: stdout.toString(), error }
}

async function inTerminal(path: string, typed: string): Promise<SampleRun> {
  const terminal = new Terminal([process.execPath, '--enable-source-maps', path], 80, 24)
  let printed = ''
  const late = setTimeout(() => terminal.close(), LIMIT_MS)
  try {
    printed = (await terminal.expect(/[\s\S]*\S[\s\S]*/))[0]
    terminal.type(`${typed}\r`)
    const code = await terminal.exited
    // What came after what was typed; the prompts before it are whoever's.
    printed += (await terminal.expect(/[\s\S]*/))[0]
    const lines = printed.replaceAll('\r', '')
    return { printed: lines, error: code === 0 ? undefined : new Error(`ended with ${code}`) }
  } catch (error) {
    return { printed, error }
  } finally {
    clearTimeout(late)
    terminal.close()
  }
}

async function captured(action: () => Promise<void>): Promise<SampleRun> {
  let printed = ''
  let stray: unknown
  const { write } = process.stdout
  const keep = (error: unknown): void => {
    stray = error
  }
  process.on('unhandledRejection', keep)
  process.on('uncaughtException', keep)
  process.stdout.write = (chunk: string | Uint8Array): boolean => {
    printed += typeof chunk === 'string' ? chunk : Buffer.from(chunk).toString()
    return true
  }
  let timer: NodeJS.Timeout | undefined
  try {
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(new Error(`still runs after ${LIMIT_MS} ms`)), LIMIT_MS)
    })
    await Promise.race([action(), late])
    return { printed, error: stray }
  } catch (error) {
    return { printed, error }
  } finally {
    clearTimeout(timer)
    process.stdout.write = write
    process.off('unhandledRejection', keep)
    process.off('uncaughtException', keep)
  }
}
