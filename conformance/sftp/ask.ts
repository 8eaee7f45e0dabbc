// Asks one client after the other for everything it can do, each in a scene and with a server of
// its own.

import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { recorded } from '../matrix.ts'
import { type Ran, run } from '../peers/run.ts'
import { type FarSide, startFarSide } from './far-side.ts'
import { type Feature, features, type Scene, startScene } from './scene.ts'

/** What a client works with. */
export interface Subject extends Scene {
  readonly server: FarSide
}

/** How a client does what it is asked for; what it lacks it cannot do. */
export type Acts = Readonly<Partial<Record<keyof typeof features, (subject: Subject) => unknown>>>

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

/** A suite for one client. `near/known_hosts` has the server's key. */
export function ask(client: string, isInstalled: boolean, acts: Acts): void {
  const test = suite(client)
  if (!isInstalled) {
    test.skip(`${client} is not installed`, () => {})
    return test.run()
  }
  let starting: Promise<Subject> | undefined
  test.after(async () => {
    const subject = await starting?.catch(() => undefined)
    subject?.server.stop()
  })
  for (const key of Object.keys(features) as (keyof typeof features)[]) {
    const act = acts[key]
    if (act === undefined) continue
    const { name, prepare, check }: Feature = features[key]
    const body = async (): Promise<void> => {
      starting ??= start()
      const subject = await starting
      await prepare?.(subject)
      await act(subject)
      await check?.(subject)
    }
    test(name, recorded('Clients of our SFTP server', name, client, body))
  }
  test.run()
}

async function start(): Promise<Subject> {
  const scene = await startScene()
  const server = await startFarSide(scene.far)
  const { port, hostKey } = server
  writeFileSync(join(scene.near, 'known_hosts'), `[127.0.0.1]:${port} ${hostKey}\n`)
  return { ...scene, server }
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
