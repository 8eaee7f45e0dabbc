// Asks one client after the other for everything on the list, each in a scene and with a server of
// its own. What a client cannot do at all it says why; nothing is left out in silence.

import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { type Ran, run } from '../peers/run.ts'
import { recorded, recordUntried } from '../results.ts'
import { type FarSide, startFarSide } from './far-side.ts'
import { type Feature, features, type Scene, startScene } from './scene.ts'

/** What a client works with. */
export interface Subject<Server = FarSide> extends Scene {
  readonly server: Server
  /** Has something done when the client has been asked for everything. */
  readonly atEnd: (act: () => unknown) => void
}

/** What clients are asked for. */
export type Asked = keyof typeof features

/** How a client does each thing that it is asked for, or why it cannot. */
export type Acts<Server = FarSide> = Readonly<
  Record<Asked, ((subject: Subject<Server>) => unknown) | string>
>

/** The same reason for several things. */
export function cannot<Key extends Asked>(
  reason: string,
  ...things: readonly Key[]
): Readonly<Record<Key, string>> {
  return Object.fromEntries(things.map((thing) => [thing, reason])) as Record<Key, string>
}

/**
 * Which commands can be run and succeed. To be awaited once, before the first client is asked: suites
 * that are not made in one go would be run twice.
 */
export async function installed<Name extends string>(
  commands: Readonly<Record<Name, readonly string[]>>,
): Promise<Readonly<Record<Name, boolean>>> {
  const entries = Object.entries<readonly string[]>(commands).map(async ([name, command]) => {
    const ran = await run(command).catch(() => undefined)
    return [name, ran?.code === 0]
  })
  return Object.fromEntries(await Promise.all(entries))
}

/** A suite for one client of our server. `near/known_hosts` has the server's key. */
export function ask(client: string, isInstalled: boolean, acts: Acts): void {
  askFor({
    area: 'Clients of our SFTP server',
    target: client,
    obstacle: isInstalled ? undefined : `${client} is not installed`,
    acts,
    start: async ({ near, far }) => {
      const server = await startFarSide(far)
      const { port, hostKey } = server
      writeFileSync(join(near, 'known_hosts'), `[127.0.0.1]:${port} ${hostKey}\n`)
      return { server, stop: server.stop }
    },
  })
}

/** Who is asked, and by whom. */
export interface Asking<Server> {
  /** The table of the results, and the column in it. */
  readonly area: string
  readonly target: string
  /** Why it cannot be asked here, if so. */
  readonly obstacle: string | undefined
  readonly acts: Acts<Server>
  readonly start: (
    scene: Scene,
  ) => Promise<{ readonly server: Server; readonly stop: () => unknown }>
}

/** A suite of everything on the list. */
export function askFor<Server>({ area, target, obstacle, acts, start }: Asking<Server>): void {
  const test = suite(`${area}: ${target}`)
  if (obstacle !== undefined) {
    test.skip(obstacle, () => {})
    return test.run()
  }
  const ends: (() => unknown)[] = []
  const make = async (): Promise<Subject<Server>> => {
    const scene = await startScene()
    const { server, stop } = await start(scene)
    ends.push(stop)
    return { ...scene, server, atEnd: (act) => ends.push(act) }
  }
  let starting: Promise<Subject<Server>> | undefined
  test.after(async () => {
    for (const end of ends.reverse()) await end()
  })
  for (const key of Object.keys(features) as Asked[]) {
    const act = acts[key]
    const { name, prepare, check }: Feature = features[key]
    if (typeof act === 'string') {
      recordUntried(target, act, { area, name })
      continue
    }
    const body = async (): Promise<void> => {
      starting ??= make()
      const subject = await starting
      await prepare?.(subject)
      await act(subject)
      await check?.(subject)
    }
    test(name, recorded(area, name, target, body))
  }
  test.run()
}

/** Runs a program in the client's folder, and wants it to succeed; gives its output. */
export async function succeed(
  { near }: Scene,
  command: readonly string[],
  stdin = '',
): Promise<string> {
  const ran = await run(command, { cwd: near, stdin, limitMs: 200_000 })
  const { code, stdout, stderr } = ran
  assert.is(code, 0, `${command[0]}: ${stdout.toString().slice(-1000)}\n${stderr.slice(-1000)}`)
  return stdout.toString()
}

/** Runs a program in the client's folder, and wants it to fail for a reason that it tells. */
export async function fail(
  { near }: Scene,
  command: readonly string[],
  reason: RegExp,
  stdin = '',
): Promise<Ran> {
  const ran = await run(command, { cwd: near, stdin })
  assert.ok(ran.code !== 0, `${command.join(' ')} succeeded`)
  const said = `${ran.stdout}${ran.stderr}`
  assert.ok(reason.test(said), `${command[0]} said: ${said}`)
  return ran
}
