// Test files in the page of a browser. Chromium is told what to do over a pipe.

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Readable, Writable } from 'node:stream'
import { stripVTControlCharacters } from 'node:util'
import * as esbuild from 'esbuild'
import { root, scratch, sourceCondition } from './bundle.mjs'
import { findRuntime } from './runtimes.ts'

/** Debian's names for it, the smaller one first. */
const programs = ['chromium-headless-shell', 'chromium']

/** Chromium's program, if it is installed. */
export function findChromium(): string | undefined {
  return programs.map(findRuntime).find((path) => path !== undefined)
}

/** What came of a page. */
export interface PageOutcome {
  /** What it wrote to its console, without colours. */
  readonly printed: string
  readonly passed: boolean
}

/**
 * Runs a file of uvu tests in a page, which finds `query` in `location.search`. Rejects if there is
 * no browser, or the page does not get to its tests' totals.
 */
export async function runPage(path: string, query = ''): Promise<PageOutcome> {
  const program = findChromium()
  if (program === undefined) throw new Error(`none of ${programs.join(', ')} is installed`)
  const page = await serve(await bundled(path))
  try {
    return await open(program, `${page.url}?${query}`)
  } finally {
    page.close()
  }
}

/** A message of the browser's: an answer, or an event. */
interface Message {
  readonly method?: string
  readonly params?: {
    readonly args?: readonly { readonly value?: unknown; readonly description?: string }[]
    readonly exceptionDetails?: {
      readonly text: string
      readonly exception?: { readonly description?: string }
    }
  }
  readonly id?: number
  readonly result?: { readonly targetId?: string; readonly sessionId?: string }
  readonly error?: { readonly message: string }
}

async function bundled(path: string): Promise<Uint8Array> {
  const { outputFiles } = await esbuild.build({
    entryPoints: [path],
    absWorkingDir: root,
    bundle: true,
    write: false,
    platform: 'browser',
    format: 'esm',
    target: 'es2022',
    conditions: [sourceCondition],
    sourcemap: 'inline',
    logLevel: 'silent',
  })
  const [output] = outputFiles
  if (output === undefined) throw new Error(`${path} gave no bundle`)
  return output.contents
}

/** Serves the page, from a loopback address: only there has a page all of WebCrypto without TLS. */
async function serve(script: Uint8Array): Promise<{ url: string; close(): void }> {
  const server = createServer((request, response) => {
    const isScript = request.url === '/test.js'
    response.setHeader('content-type', isScript ? 'text/javascript' : 'text/html; charset=utf-8')
    response.end(
      isScript ? script : '<!doctype html><script type="module" src="/test.js"></script>',
    )
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  return { url: `http://127.0.0.1:${port}/`, close: () => server.close() }
}

/** Opens the page and resolves once uvu has told its totals. */
async function open(program: string, url: string): Promise<PageOutcome> {
  const profile = scratch('chromium')
  const flags = ['--headless', '--no-sandbox', '--disable-gpu', `--user-data-dir=${profile}`]
  const browser = spawn(program, [...flags, '--remote-debugging-pipe', 'about:blank'], {
    stdio: ['ignore', 'ignore', 'ignore', 'pipe', 'pipe'],
    // A group of its own, because it has many processes.
    detached: true,
  })
  const [, , , commands, messages] = browser.stdio as unknown as [0, 0, 0, Writable, Readable]
  let last = 0
  const send = (method: string, params: object, sessionId?: string): number => {
    commands.write(`${JSON.stringify({ id: ++last, method, params, sessionId })}\0`)
    return last
  }
  try {
    return await new Promise((resolve, reject) => {
      browser.once('error', reject)
      browser.once('exit', (code) => reject(new Error(`the browser ended with ${code}`)))
      const created = send('Target.createTarget', { url: 'about:blank' })
      let attached = 0
      let printed = ''
      const handle = ({ id, method, params, result, error }: Message): void => {
        if (error !== undefined) reject(new Error(error.message))
        else if (id === created) {
          attached = send('Target.attachToTarget', { targetId: result?.targetId, flatten: true })
        } else if (id === attached) {
          send('Runtime.enable', {}, result?.sessionId)
          send('Page.navigate', { url }, result?.sessionId)
        } else if (method === 'Runtime.exceptionThrown') {
          const { text, exception } = params?.exceptionDetails ?? { text: 'unknown' }
          reject(new Error(`${text}: ${exception?.description}`))
        } else if (method === 'Runtime.consoleAPICalled') {
          const words = params?.args?.map(({ value, description }) => value ?? description)
          // uvu brings its own line ends, and colours for whoever looks at a console.
          printed += stripVTControlCharacters(words?.join(' ') ?? '')
          const totals = /^ {2}Total: +(\d+)\n {2}Passed: +(\d+)\n[\s\S]*Duration/m.exec(printed)
          if (totals !== null) resolve({ printed, passed: totals[1] === totals[2] })
        }
      }
      let text = ''
      messages.setEncoding('utf8').on('data', (chunk: string) => {
        text += chunk
        const whole = text.split('\0')
        text = whole.pop() ?? ''
        for (const message of whole) handle(JSON.parse(message) as Message)
      })
    })
  } finally {
    browser.removeAllListeners('exit')
    if (browser.pid !== undefined) process.kill(-browser.pid, 'SIGKILL')
    commands.destroy()
    messages.destroy()
  }
}
