// Programs that run in a terminal, and what they write there.

import { type IPty, spawn } from '@lydell/node-pty'
import * as assert from 'uvu/assert'

/** A program in a terminal, to type at and to read from. */
export class Terminal {
  readonly #pty: IPty
  #output = ''
  #position = 0
  #ended = false
  #changed: () => void = () => undefined
  readonly exited: Promise<number>

  constructor(
    command: readonly string[],
    columns: number,
    rows: number,
    env: Readonly<Record<string, string>> = {},
  ) {
    const [program = '', ...args] = command
    const size = { cols: columns, rows, name: 'xterm-256color' }
    this.#pty = spawn(program, args, { ...size, env: { ...process.env, ...env } })
    this.#pty.onData((text) => {
      this.#output += text
      this.#changed()
    })
    this.exited = new Promise((resolve) => {
      this.#pty.onExit(({ exitCode }) => {
        this.#ended = true
        resolve(exitCode)
        this.#changed()
      })
    })
  }

  /** What came so far. */
  get output(): string {
    return this.#output
  }

  /** Types. */
  type(text: string): void {
    this.#pty.write(text)
  }

  resize(columns: number, rows: number): void {
    this.#pty.resize(columns, rows)
  }

  close(): void {
    this.#pty.kill('SIGKILL')
  }

  /** Waits until what came since the last match matches, and gives the match. */
  async expect(pattern: RegExp): Promise<RegExpExecArray> {
    const deadline = Date.now() + 15_000
    for (;;) {
      const match = pattern.exec(this.#output.slice(this.#position))
      if (match !== null) {
        this.#position += match.index + match[0].length
        return match
      }
      const left = this.#ended ? 0 : deadline - Date.now()
      assert.ok(left > 0, `${pattern} did not come: ${JSON.stringify(this.#output)}`)
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, left)
        this.#changed = () => {
          clearTimeout(timer)
          resolve()
        }
      })
    }
  }
}
