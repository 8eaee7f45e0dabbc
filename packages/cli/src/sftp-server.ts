// The program `sandbox-ssh-sftp-server`: serves this machine's files over stdin and stdout, with the
// options of sftp-server(8), so that it can stand where OpenSSH's stands: as a Subsystem of sshd, or
// behind `sftp -D`.
import * as fs from 'node:fs/promises'
import { homedir } from 'node:os'
import { resolve } from 'node:path'
import { nodeStreams } from '@sandbox-ssh/protocol'
import { nodeFileSystem, requestNames, serveSftp } from '@sandbox-ssh/sftp'

const USAGE = `usage: sandbox-ssh-sftp-server [-ehR] [-d start_directory] [-f log_facility]
       [-l log_level] [-P denied_requests] [-p allowed_requests] [-u umask]
       sandbox-ssh-sftp-server -Q protocol_feature`

interface Arguments {
  readonly readOnly: boolean
  readonly log: boolean
  readonly directory: string
  readonly allow: readonly string[] | undefined
  readonly deny: readonly string[]
  readonly umask: number | undefined
}

/** Arguments that end the program before it starts: a request for text, or a mistake. */
class Stop {
  readonly text: string
  readonly code: number

  constructor(text: string, code: number) {
    this.text = text
    this.code = code
  }
}

/** Reads the options as getopt(3) would. Throws `Stop`. */
function parseArguments(words: readonly string[]): Arguments {
  let readOnly = false
  let toStderr = false
  let level = 'ERROR'
  let directory = process.cwd()
  let allow: readonly string[] | undefined
  let deny: readonly string[] = []
  let umask: number | undefined
  const flag = (letter: string): void => {
    if (letter === 'e') toStderr = true
    else if (letter === 'R') readOnly = true
    else throw new Stop(USAGE, letter === 'h' ? 0 : 1)
  }
  const option = (letter: string, value: string): void => {
    if (letter === 'd') directory = startDirectory(value)
    else if (letter === 'l') level = value.toUpperCase()
    else if (letter === 'P') deny = [...deny, ...names(value)]
    else if (letter === 'p') allow = [...(allow ?? []), ...names(value)]
    else if (letter === 'Q') throw feature(value)
    else if (letter === 'u') umask = parseUmask(value)
  }
  const todo = [...words]
  for (let word = todo.shift(); word !== undefined; word = todo.shift()) {
    // Words after the options mean nothing, to sftp-server too: `scp -D` gives it host and subsystem.
    if (word === '--' || !/^-./.test(word)) break
    for (let at = 1; at < word.length; at++) {
      const letter = word[at] ?? ''
      if (!'dflPpQu'.includes(letter)) {
        flag(letter)
        continue
      }
      const value = at + 1 < word.length ? word.slice(at + 1) : todo.shift()
      if (value === undefined) throw new Stop(USAGE, 1)
      option(letter, value)
      break
    }
  }
  const log = toStderr && /^(VERBOSE|DEBUG[123]?)$/.test(level)
  return { readOnly, log, directory, allow, deny, umask }
}

/** `%d` is the home directory, `%u` the user's name, as in sftp-server(8). */
function startDirectory(value: string): string {
  const user = process.env['USER'] ?? ''
  const tokens = new Map([
    ['%%', '%'],
    ['%d', homedir()],
    ['%u', user],
  ])
  return resolve(value.replace(/%./g, (token) => tokens.get(token) ?? token))
}

function names(list: string): readonly string[] {
  return list.split(',').filter((name) => name !== '')
}

function feature(value: string): Stop {
  if (value !== 'requests') return new Stop(`error: nothing is known about ${value}`, 1)
  return new Stop(requestNames.join('\n'), 0)
}

function parseUmask(value: string): number {
  const umask = /^[0-7]{1,4}$/.test(value) ? Number.parseInt(value, 8) : 0o10000
  if (umask > 0o777) throw new Stop(`error: invalid umask ${JSON.stringify(value)}`, 1)
  return umask
}

async function main(): Promise<number> {
  try {
    const { readOnly, log, directory, allow, deny, umask } = parseArguments(process.argv.slice(2))
    if (umask !== undefined) process.umask(umask)
    const files = nodeFileSystem(fs, { directory, home: homedir() })
    const onError = (error: unknown): void => {
      process.stderr.write(`error: ${error instanceof Error ? error.message : String(error)}\n`)
    }
    await serveSftp(nodeStreams(process.stdin, process.stdout), files, {
      readOnly,
      deny,
      onError,
      ...(allow && { allow }),
      ...(log && { trace: (line: string) => void process.stderr.write(`${line}\n`) }),
    })
    return 0
  } catch (error) {
    if (error instanceof Stop) {
      const stream = error.code === 0 ? process.stdout : process.stderr
      stream.write(`${error.text}\n`)
      return error.code
    }
    process.stderr.write(`error: ${error instanceof Error ? error.message : String(error)}\n`)
    return 255
  }
}

process.exitCode = await main()
