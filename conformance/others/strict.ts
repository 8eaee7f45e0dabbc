// Trials of strict key exchange, which takes from somebody in the middle the power to drop messages:
// with a peer that has it, and with one that does not, which we may demand it of.

import { connect as connectTcp, createServer } from 'node:net'
import {
  connect,
  MSG,
  nodeSocket,
  type RekeyLimits,
  SshError,
  serve,
  type Transport,
} from '@sandbox-ssh/protocol'
import * as assert from 'uvu/assert'
import { bytes, sha256 } from '../data.ts'
import { areaOf, type Role } from '../feature.ts'
import type { Login, PeerClient, PeerServer, RunningPeer, ServerSetup } from '../peers/peer.ts'
import type { Keys } from './keys.ts'
import { withOurClient } from './our-client.ts'
import { accepting, withOurServer } from './our-server.ts'
import type { Proposal } from './proposal.ts'
import type { Trial } from './trial.ts'
import { use } from './use.ts'
import { username } from './user.ts'

const data = bytes(1 << 20)
/** Bytes after which keys are exchanged anew. */
const rekeyBytes = 128 << 10
/** Key exchanges there have to be: some send all they have while the first is renewed. */
const exchangesMin = 2

/** Whether a peer says in its KEXINIT that it has it. */
const isStrict = ({ kex }: Proposal): boolean => kex.some((name) => name.startsWith('kex-strict-'))

/** The rows for one peer: what it lacks cannot be demanded, and is done without. */
const names = {
  met: 'demanded, through a session with keys exchanged anew',
  refused: 'demanded in vain: the error says so, and nothing is sent after it',
  without: 'not there: a session with keys exchanged anew all the same',
} as const

function trials(
  role: Role,
  proposal: Proposal,
  run: (demanded: boolean) => Promise<void>,
  refuse: () => Promise<void>,
): readonly Trial[] {
  const area = `${areaOf[role]}: strict key exchange`
  if (isStrict(proposal)) return [{ area, name: names.met, run: () => run(true) }]
  return [
    { area, name: names.refused, run: refuse },
    { area, name: names.without, run: () => run(false) },
  ]
}

/** Who exchanges keys anew: we, unless the peer cannot bear it. */
const beganByUs = ({ unable = {} }: PeerClient | PeerServer): boolean =>
  !Object.hasOwn(unable, 'keys exchanged anew by us several times under load')

/** Of a peer's client, at a server of ours. */
export function strictOfClient(
  client: PeerClient,
  keys: Keys,
  proposal: Proposal,
): readonly Trial[] {
  const key = keys.usual
  const login = (port: number): Login => ({ port, username, hostKey: key.key, proof: key })
  const run = async (demanded: boolean): Promise<void> => {
    const rekey: RekeyLimits = beganByUs(client) ? { bytes: rekeyBytes } : {}
    const options = { auth: accepting(key), rekey, requireStrictKex: demanded }
    await withOurServer(key.key, options, async (server) => {
      const load = beganByUs(client) ? {} : { rekeyBytes }
      const came = await use(client, { ...login(server.port), ...load }, data)
      assert.is(sha256(came), sha256(data), server.report())
      assert.is(server.connections[0]?.negotiated.strict, demanded)
      assert.ok(server.keyExchanges() >= exchangesMin, server.report())
    })
  }
  const refuse = async (): Promise<void> => {
    const sent: Uint8Array[] = []
    let told: Promise<unknown> | undefined
    const server = createServer((socket) => {
      const options = { hostKeys: [key.key], auth: accepting(key), requireStrictKex: true }
      told = serve(tapped(nodeSocket(socket), sent), options).catch((error: unknown) => error)
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    try {
      const { port } = server.address() as { port: number }
      const came = await use(client, login(port), bytes(1)).catch((error: unknown) => error)
      assert.instance(came, Error, 'it came in')
      check(await told, sent)
    } finally {
      server.close()
    }
  }
  return trials('client', proposal, run, refuse)
}

/** Of our client, at a peer's server. */
export function strictOfServer(
  peer: PeerServer,
  server: RunningPeer,
  setup: ServerSetup,
  keys: Keys,
  proposal: Proposal,
): readonly Trial[] {
  const run = async (demanded: boolean): Promise<void> => {
    const own = beganByUs(peer) ? undefined : await peer.start({ ...setup, rekeyBytes })
    const trace: string[] = []
    const options = {
      rekey: own === undefined ? { bytes: rekeyBytes } : {},
      requireStrictKex: demanded,
      trace: (line: string): void => void trace.push(line),
    }
    try {
      await withOurClient(own ?? server, keys, options, async (client) => {
        const { code, stdout } = await client.run('cat; exit 7', { stdin: data })
        assert.is(sha256(stdout), sha256(data))
        assert.is(code, 7)
        assert.is(client.negotiated.strict, demanded)
      })
    } finally {
      await own?.stop()
    }
    const exchanges = trace.filter((line) => line.startsWith('< NEWKEYS')).length
    assert.ok(exchanges >= exchangesMin, `${exchanges} key exchanges`)
  }
  const refuse = async (): Promise<void> => {
    const sent: Uint8Array[] = []
    const transport = tapped(nodeSocket(connectTcp(server.port, '127.0.0.1')), sent)
    const options = { username, hostKey: () => true, auth: [], requireStrictKex: true }
    check(await connect(transport, options).catch((error: unknown) => error), sent)
  }
  return trials('server', proposal, run, refuse)
}

/** The error is clear, and what was sent before it is all that there was to say. */
function check(outcome: unknown, sent: readonly Uint8Array[]): void {
  assert.instance(outcome, SshError, String(outcome))
  const { code, message } = outcome as SshError
  assert.is(code, 'SSH_KEY_EXCHANGE')
  assert.match(message, 'does not offer strict key exchange')
  assert.equal(messagesIn(Buffer.concat(sent)), [MSG.KEXINIT, MSG.DISCONNECT])
}

/** The transport, with all that is written to it. */
function tapped(inner: Transport, sent: Uint8Array[]): Transport {
  return {
    read: () => inner.read(),
    write: (chunk) => {
      sent.push(Uint8Array.from(chunk))
      return inner.write(chunk)
    },
    close: () => inner.close(),
    abort: (reason) => inner.abort(reason),
  }
}

/** The numbers of the messages behind the identification, none of which is encrypted. */
function messagesIn(sent: Buffer): readonly number[] {
  const numbers: number[] = []
  let at = sent.indexOf('\n') + 1
  while (at < sent.length) {
    numbers.push(sent.readUInt8(at + 5))
    at += 4 + sent.readUInt32BE(at)
  }
  assert.is(at, sent.length, 'whole packets')
  return numbers
}
