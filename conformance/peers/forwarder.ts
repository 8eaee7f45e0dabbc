// Clients that are programs and forward as long as they run.

import { spawn } from 'node:child_process'
import { connect } from 'node:net'
import { exchange, listenWithEcho } from '../others/sockets.ts'
import { freePort } from './openssh.ts'
import type { Forward, Login, PeerClient, Place } from './peer.ts'

const limitMs = 20_000

/** The command line of a client with these options for forwards, and its environment. */
export type Forwarding = (
  login: Login,
  options: readonly string[],
) => Promise<{
  readonly command: readonly string[]
  readonly env?: Readonly<Record<string, string>>
}>

/** How a program that takes -L, -R and -D in OpenSSH's manner reaches and listens. */
export function byOptions(
  forwarding: Forwarding,
): Required<Pick<PeerClient, 'reach' | 'listen' | 'socks'>> {
  return {
    reach: async (login, place, data) => {
      const local = { port: await freePort() }
      const { stop } = await start(
        forwarding,
        login,
        ['-L', `${local.port}:${written(place)}`],
        local,
      )
      try {
        return await exchange(local, data)
      } finally {
        await stop()
      }
    },
    socks: async (login) => {
      const local = { port: await freePort() }
      return start(forwarding, login, ['-D', `${local.port}`], local)
    },
    listen: async (login, place) => {
      const echo = await listenWithEcho({ port: 0 })
      const remote = 'path' in place ? place : { port: place.port || (await freePort()) }
      const from = 'path' in remote ? remote.path : `${remote.port}`
      const { stop } = await start(
        forwarding,
        login,
        ['-R', `${from}:${written(echo.place)}`],
        remote,
      )
      return {
        place: remote,
        stop: async () => {
          await stop()
          await echo.stop()
        },
      }
    },
  }
}

const written = (place: Place): string => ('path' in place ? place.path : `127.0.0.1:${place.port}`)

/** Resolves once somebody listens at the place. */
async function start(
  forwarding: Forwarding,
  login: Login,
  options: readonly string[],
  place: Place,
): Promise<Forward> {
  const { command, env } = await forwarding(login, options)
  const [program = '', ...args] = command
  const child = spawn(program, args, {
    stdio: ['ignore', 'ignore', 'pipe'],
    env: { ...process.env, ...env },
  })
  const kill = (): void => void child.kill('SIGKILL')
  process.once('exit', kill)
  let said = ''
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    said += text
  })
  const ended = new Promise<void>((resolve) => {
    child.once('exit', () => resolve())
    child.once('error', () => resolve())
  })
  const stop = async (): Promise<void> => {
    child.kill('SIGTERM')
    await ended
    process.off('exit', kill)
  }
  const giveUp = Date.now() + limitMs
  while (!(await isListening(place))) {
    if (child.exitCode === null && Date.now() < giveUp) continue
    await stop()
    throw new Error(`${program} does not forward: ${said}`)
  }
  return { place, stop }
}

/** Whether a connection comes about; if not, some time has passed. */
function isListening(place: Place): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect('path' in place ? place : { ...place, host: '127.0.0.1' })
    socket.once('connect', () => {
      socket.destroy()
      resolve(true)
    })
    socket.once('error', () => setTimeout(() => resolve(false), 20))
  })
}
