/** A stand-in for microsandbox's own program, which starts and stops a sandbox that is real. */
import { createHash } from 'node:crypto'
import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const guest = fileURLToPath(new URL('../dist/msb-guest.mjs', import.meta.url))

/** Puts a shell script in the place of microsandbox's program. */
export function install(home: string, script: string): void {
  mkdirSync(join(home, 'bin'))
  writeFileSync(join(home, 'bin', 'msb'), `#!/bin/sh\n${script}`)
  chmodSync(join(home, 'bin', 'msb'), 0o755)
}

/** Where the agent of the sandbox `box` is to listen. */
export function agentSocket(home: string): string {
  const hash = createHash('sha256').update('box').digest('hex').slice(0, 24)
  const socket = join(home, 'run', 'sandboxes', hash, 'agent.sock')
  mkdirSync(dirname(socket), { recursive: true })
  mkdirSync(join(home, 'sandboxes', 'box'), { recursive: true })
  return socket
}

/**
 * One that starts our guest as the agent of the sandbox `box`, unless it runs, and keeps a log of what
 * it did.
 */
export function installStarter(home: string): void {
  const socket = agentSocket(home)
  install(
    home,
    `case "$1" in
start)
  mkdir '${home}/running' 2>/dev/null || { echo 'error: box is locked by another process' >&2; exit 1; }
  echo "$*" >> '${home}/log'
  '${process.execPath}' '${guest}' --relay '${socket}' >/dev/null 2>&1 </dev/null &
  echo $! > '${home}/pid' ;;
stop)
  echo "$*" >> '${home}/log'
  kill "$(cat '${home}/pid')" && rm -rf '${home}/pid' '${socket}' '${home}/running' ;;
esac
`,
  )
  process.once('exit', () => {
    if (existsSync(join(home, 'pid'))) process.kill(Number(readFileSync(join(home, 'pid'), 'utf8')))
  })
}
