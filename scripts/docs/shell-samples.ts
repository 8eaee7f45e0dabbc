// Samples of shells: what a person types behind `$ `, and what is printed. The sessions of a page
// are typed into one shell, in a home that is thrown away.

import { spawn } from 'node:child_process'
import { chmodSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { temporaryFolder } from '../../conformance/peers/folder.ts'
import { root } from '../bundle.mjs'
import { msbPath } from '../programs.ts'
import type { Sample } from './samples.ts'

/** A command with what it is to print. */
export interface ShellStep {
  readonly line: number
  readonly command: string
  readonly expected: readonly string[]
}

/** Takes a session apart. A command goes on over lines that begin with `> `. */
export function shellSteps({ code, line, file }: Sample): ShellStep[] {
  const steps: { line: number; command: string; expected: string[] }[] = []
  code.split('\n').forEach((text, index) => {
    const last = steps.at(-1)
    if (text.startsWith('$ ')) {
      steps.push({ line: line + index, command: text.slice(2), expected: [] })
    } else if (last === undefined) {
      throw new Error(`${file}:${line + index}: a session begins with $`)
    } else if (text.startsWith('> ') && last.expected.length === 0) {
      last.command += `\n${text.slice(2)}`
    } else last.expected.push(text)
  })
  return steps
}

/** No command takes longer. */
const LIMIT_MS = 60_000

/** A shell as on the pages: `msb` is in the path, and OpenSSH's programs read the home's files. */
export class SampleShell {
  readonly #child: ReturnType<typeof spawn>
  #output = ''
  #wake: () => void = () => undefined
  #steps = 0

  constructor() {
    const home = temporaryFolder()
    const bin = join(home, '.bin')
    mkdirSync(bin)
    mkdirSync(join(home, '.ssh'), { mode: 0o700 })
    // Named below, so it must be there.
    writeFileSync(join(home, '.ssh/config'), '')
    symlinkSync(msbPath, join(bin, 'msb'))
    for (const name of ['ssh', 'scp', 'sftp']) {
      // They look for the home in the list of users, and not in HOME.
      const script = `#!/bin/sh\nexec /usr/bin/${name} -F "$HOME/.ssh/config" "$@"\n`
      writeFileSync(join(bin, name), script)
      chmodSync(join(bin, name), 0o755)
    }
    const env = {
      HOME: home,
      PATH: `${bin}:${join(process.execPath, '..')}:/usr/local/bin:/usr/bin:/bin`,
      MSB_HOME: join(home, '.microsandbox'),
      LC_ALL: 'C.UTF-8',
      CLONE: root,
    }
    // A group of its own, so that what it starts in the background can be ended with it.
    this.#child = spawn('/bin/bash', ['--norc'], { cwd: home, env, detached: true })
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      stream?.setEncoding('utf8').on('data', (text: string) => {
        this.#output += text
        this.#wake()
      })
    }
    this.#child.once('close', () => this.#wake())
  }

  /** Types a command and gives what it printed, and its exit status. */
  async type(command: string): Promise<{ printed: string; status: number }> {
    const mark = `--- end of step ${++this.#steps} ---`
    this.#child.stdin?.write(
      `{ ${command}\n} </dev/null 2>&1; status=$?; echo "${mark} $status"; (exit $status)\n`,
    )
    const end = new RegExp(`^([\\s\\S]*?)${mark} (\\d+)\n`)
    const timer = setTimeout(() => this.end(), LIMIT_MS)
    for (;;) {
      const match = end.exec(this.#output)
      if (match !== null) {
        clearTimeout(timer)
        this.#output = this.#output.slice(match[0].length)
        return { printed: match[1] ?? '', status: Number(match[2]) }
      }
      if (this.#child.exitCode !== null || this.#child.signalCode !== null) {
        clearTimeout(timer)
        throw new Error(`the shell ended in the middle of: ${command}\n${this.#output}`)
      }
      await new Promise<void>((resolve) => {
        this.#wake = resolve
      })
    }
  }

  /** Ends it and all that it started. */
  end(): void {
    if (this.#child.pid === undefined || this.#child.exitCode !== null) return
    try {
      process.kill(-this.#child.pid, 'SIGTERM')
    } catch {
      // The group is gone.
    }
  }
}
