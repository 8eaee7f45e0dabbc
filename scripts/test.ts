// Runs every test of every package, or those whose path contains one of the arguments, and ends
// with one line, `N passed, N failed`.
//
//     npm test [-- PATTERN…] [--ci] [--runtimes=bun,deno] [--jobs=N]
//
// Each test file is a program and gets a process of its own with a time limit (120 s, or what a
// line `// Time limit: N s` in the file says): a file that crashes, hangs or contains no test is a
// failure. What a failing file printed is printed whole, what a passing one printed is not.
// With `--ci` (or CI=true) the checks of `npm run check` count as tests too, and the runtime
// neutral suites run a second and third time, on Bun and Deno, and those that say `// Also on: bun`
// or `// Also on: chromium`, the browser, run there.

import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join, relative } from 'node:path'
import { parseArgs } from 'node:util'
import { type Bundled, bundle, root, scratch } from './bundle.mjs'
import { checks } from './checks.ts'
import { type Job, killAll, type Outcome, run } from './job.ts'
import { buildPrograms } from './programs.ts'
import { findRuntime, runtimeCommands, wholeRuntimes } from './runtimes.ts'

const { values: options, positionals: patterns } = parseArgs({
  allowPositionals: true,
  options: {
    ci: { type: 'boolean', default: Boolean(process.env['CI']) },
    runtimes: { type: 'string' },
    jobs: { type: 'string', default: '2' },
  },
})

/** The folders with test files; a file is a test if its name ends in `.test.ts`. */
const folders = ['packages', 'conformance', 'examples', 'scripts', 'bench']

/** Packages whose tests run on every runtime, unless they import something of Node's. */
const neutral = ['packages/protocol/test/', 'packages/sftp/test/']

const defaultLimitMs = 120_000

function findTests(): string[] {
  return folders
    .filter((folder) => existsSync(join(root, folder)))
    .flatMap((folder) =>
      readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' }).map((path) =>
        join(folder, path),
      ),
    )
    .filter((path) => path.endsWith('.test.ts') && !path.includes('node_modules'))
    .filter((path) => patterns.length === 0 || patterns.some((pattern) => path.includes(pattern)))
    .sort()
}

function limitMs(path: string): number {
  const stated = /^\/\/ Time limit: (\d+) s/m.exec(readFileSync(join(root, path), 'utf8'))?.[1]
  return stated === undefined ? defaultLimitMs : Number(stated) * 1000
}

/** Bundles all files at once; if that fails, one by one, to find whose fault it is. */
async function bundleTests(
  paths: readonly string[],
): Promise<{ bundled: Map<string, Bundled>; broken: Outcome[] }> {
  const outdir = scratch('test')
  const broken: Outcome[] = []
  const bundled = new Map<string, Bundled>()
  const attempt = async (group: readonly string[]): Promise<void> => {
    const entries = group.map((path) => join(root, path))
    for (const [entry, output] of await bundle({ entries, outdir })) {
      bundled.set(relative(root, entry), output)
    }
  }
  try {
    await attempt(paths)
  } catch {
    bundled.clear()
    for (const path of paths) {
      await attempt([path]).catch((error: Error) => {
        broken.push({ name: path, passed: 0, failed: 1, skipped: 0, ms: 0, output: error.message })
      })
    }
  }
  return { bundled, broken }
}

/** Sources whose users start the single-file programs. */
const programUsers = [
  'scripts/programs.ts',
  'packages/cli/test/msb.ts',
  'packages/sandbox-bridge/src/local/programs.ts',
  'packages/sandbox-bridge/test/guest/program.test.ts',
]

/** Builds the `msb` command and the guest program if one of the tests runs them. */
async function buildForTests(bundled: ReadonlyMap<string, Bundled>): Promise<Outcome[]> {
  const sources = [...bundled.values()].flatMap((output) => output.sources)
  if (!programUsers.some((user) => sources.includes(user))) return []
  try {
    await buildPrograms()
    return []
  } catch (error) {
    const output = error instanceof Error ? error.message : String(error)
    return [{ name: 'building msb', passed: 0, failed: 1, skipped: 0, ms: 0, output }]
  }
}

function nodeJob(path: string, bundled: Bundled): Job {
  return {
    name: path,
    command: [process.execPath, '--enable-source-maps', bundled.output],
    limitMs: limitMs(path),
    counts: 'uvu',
  }
}

/** True if a file's line `// Also on: bun` names the runtime. */
function asksFor(path: string, runtime: string): boolean {
  const named = /^\/\/ Also on: (.+)$/m.exec(readFileSync(join(root, path), 'utf8'))?.[1]
  return named?.split(', ').includes(runtime) ?? false
}

function runtimeJobs(paths: readonly string[], bundled: ReadonlyMap<string, Bundled>): Job[] {
  const wanted = options.runtimes?.split(',') ?? (options.ci ? Object.keys(runtimeCommands) : [])
  const suites = paths.filter(
    (path) =>
      neutral.some((folder) => path.startsWith(folder)) &&
      bundled.get(path)?.imports.every((name) => !name.startsWith('node:')),
  )
  return wanted.flatMap((runtime) => {
    const [program, ...args] = runtimeCommands[runtime] ?? []
    const found = program === undefined ? undefined : findRuntime(program)
    const asking = paths.filter((path) => bundled.has(path) && asksFor(path, runtime))
    const whole = wholeRuntimes.includes(runtime) ? suites : []
    return [...whole, ...asking].map((path): Job => {
      // A runtime that was asked for and is not there must fail, not quietly test nothing.
      const command = [found ?? `${runtime}: not installed (npm ci in conformance/runtimes)`]
      return {
        name: `${path} on ${runtime}`,
        command: [...command, ...args, join(root, path)],
        limitMs: limitMs(path),
        counts: 'uvu',
      }
    })
  })
}

function report({ name, passed, failed, skipped, ms, output }: Outcome): void {
  const seconds = `${(ms / 1000).toFixed(1)} s`
  const counts = [
    `${passed} passed`,
    ...(failed > 0 ? [`${failed} failed`] : []),
    ...(skipped > 0 ? [`${skipped} skipped`] : []),
  ].join(', ')
  process.stdout.write(`${failed > 0 ? 'FAIL' : 'ok  '} ${name} (${counts}, ${seconds})\n`)
  if (failed > 0) process.stdout.write(`${output.trimEnd()}\n\n`)
}

async function main(): Promise<void> {
  const paths = findTests()
  const { bundled, broken } = await bundleTests(paths)
  broken.push(...(await buildForTests(bundled)))
  for (const outcome of broken) report(outcome)
  const jobs = [
    ...(options.ci && patterns.length === 0 ? checks() : []),
    ...[...bundled].map(([path, output]) => nodeJob(path, output)),
    ...runtimeJobs(paths, bundled),
  ]
  const outcomes = [...broken]
  const worker = async (): Promise<void> => {
    for (let job = jobs.shift(); job !== undefined; job = jobs.shift()) {
      const outcome = await run(job)
      report(outcome)
      outcomes.push(outcome)
    }
  }
  await Promise.all(Array.from({ length: Math.max(1, Number(options.jobs) || 1) }, worker))

  const sum = (key: 'passed' | 'failed' | 'skipped'): number =>
    outcomes.reduce((total, outcome) => total + outcome[key], 0)
  const failures = outcomes.filter(({ failed }) => failed > 0)
  if (failures.length > 0) {
    process.stdout.write(`\nFailed:\n${failures.map(({ name }) => `  ${name}\n`).join('')}\n`)
  }
  if (outcomes.length === 0) process.stdout.write('No test matches.\n')
  const skipped = sum('skipped')
  process.stdout.write(
    `${sum('passed')} passed, ${sum('failed')} failed${skipped > 0 ? `, ${skipped} skipped` : ''}\n`,
  )
  process.exitCode = failures.length > 0 || outcomes.length === 0 ? 1 : 0
}

for (const [signal, number] of [
  ['SIGINT', 2],
  ['SIGTERM', 15],
] as const) {
  process.once(signal, () => {
    killAll()
    process.exit(128 + number)
  })
}
await main()
