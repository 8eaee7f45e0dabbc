// A peer that breaks the rules gets a disconnect, never a crash, a hang or more than its share.

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { SshError } from '../../src/errors.ts'
import { AUTH_REQUESTS_MAX } from '../../src/limits.ts'
import {
  channelClose,
  channelData,
  channelEof,
  channelOpen,
  channelRequest,
  channelSuccess,
  channelWindowAdjust,
  globalRequest,
} from '../../src/wire/connection.ts'
import { MSG } from '../../src/wire/numbers.ts'
import { extInfo, ignore, kexInit, ping, serviceRequest } from '../../src/wire/transport.ts'
import {
  publickeyHostboundRequest,
  publickeyRequest,
  userauthInfoResponse,
  userauthRequest,
  userauthSuccess,
} from '../../src/wire/userauth.ts'
import { user } from '../sim/pair.ts'
import { seededRandom } from '../sim/random.ts'
import { RawClient } from '../sim/raw-client.ts'

const NOTHING = new Uint8Array(0)
const session = (overrides: object = {}): Uint8Array =>
  channelOpen.encode({
    channelType: 'session',
    senderChannel: 7,
    initialWindowSize: 1000,
    maximumPacketSize: 1000,
    typeSpecific: NOTHING,
    ...overrides,
  })
const request = (
  methodName: string,
  username = 'eve',
  methodSpecific: Uint8Array = NOTHING,
): Uint8Array =>
  userauthRequest.encode({ username, serviceName: 'ssh-connection', methodName, methodSpecific })

function ends(raw: RawClient, code: string, pattern: RegExp): void {
  const { error } = raw.settle().server
  assert.ok(error instanceof SshError, `ended with ${error}`)
  assert.is(error.code, code)
  assert.match(error.message, pattern)
  assert.is(raw.received.at(-1)?.[0], MSG.DISCONNECT, 'the goodbye went out')
}

/** A raw client with one session channel accepted; the server's channel number is 0. */
function inSession(): RawClient {
  const raw = new RawClient().logIn().send(session()).settle()
  raw.server.machine.acceptChannel(0)
  return raw.settle()
}

test('a channel before authentication is refused', () => {
  const raw = new RawClient().exchangeKeys()
  raw.send(serviceRequest.encode({ serviceName: 'ssh-userauth' })).send(session())
  ends(raw, 'SSH_PROTOCOL', /CHANNEL_OPEN is not allowed in authentication/)
})

test('authentication without asking for the service is refused', () => {
  ends(new RawClient().exchangeKeys().send(request('none')), 'SSH_PROTOCOL', /USERAUTH_REQUEST/)
})

test('ssh-connection cannot be asked for before authentication', () => {
  const raw = new RawClient().exchangeKeys()
  raw.send(serviceRequest.encode({ serviceName: 'ssh-connection' }))
  ends(raw, 'SSH_DISCONNECTED', /no service ssh-connection/)
})

test('a client cannot tell the server that it succeeded', () => {
  const raw = new RawClient({}, { type: 'reject' }).exchangeKeys()
  raw.send(serviceRequest.encode({ serviceName: 'ssh-userauth' })).send(userauthSuccess.encode({}))
  ends(raw, 'SSH_PROTOCOL', /USERAUTH_SUCCESS/)
})

test('responses to prompts that nobody gave are refused', () => {
  const raw = new RawClient({}, { type: 'reject' }).exchangeKeys()
  raw.send(serviceRequest.encode({ serviceName: 'ssh-userauth' }))
  raw.send(userauthInfoResponse.encode({ responses: ['x'] }))
  ends(raw, 'SSH_PROTOCOL', /not allowed in authentication/)
})

test('the user name may not change between attempts', () => {
  const raw = new RawClient({}, { type: 'reject' }).exchangeKeys()
  raw.send(serviceRequest.encode({ serviceName: 'ssh-userauth' }))
  raw.send(request('none', 'eve')).send(request('none', 'root'))
  ends(raw, 'SSH_PROTOCOL', /user name changed/)
})

test('the service is granted again before a later attempt, though not without end', () => {
  const raw = new RawClient({}, { type: 'reject' }).exchangeKeys()
  const asked = serviceRequest.encode({ serviceName: 'ssh-userauth' })
  raw.send(asked).send(request('none', 'eve')).send(asked).settle()
  const accepts = raw.received.filter(([number]) => number === MSG.SERVICE_ACCEPT)
  assert.is(accepts.length, 2)
  raw.send(request('none', 'eve')).settle()
  assert.is(raw.received.at(-1)?.[0], MSG.USERAUTH_FAILURE)
  for (let count = 2; count <= AUTH_REQUESTS_MAX; count++) raw.send(asked)
  ends(raw, 'SSH_PROTOCOL', /SERVICE_REQUEST is not allowed/)
})

test('a forged signature is a failure that nobody is asked about', () => {
  const raw = new RawClient().exchangeKeys()
  raw.send(serviceRequest.encode({ serviceName: 'ssh-userauth' }))
  const signature = user.sign(NOTHING, 'ssh-ed25519')
  const signaturePart = Uint8Array.of(0, 0, 0, signature.length, ...signature)
  const publicKey = user.publicKey.blob
  const fields = { signed: true, algorithm: 'ssh-ed25519', publicKey, signaturePart }
  raw.send(request('publickey', 'eve', publickeyRequest.encode(fields))).settle()
  assert.is(raw.received.at(-1)?.[0], MSG.USERAUTH_FAILURE)
  assert.is(raw.server.of('question').filter(({ kind }) => kind === 'authenticate').length, 0)
})

test('a key bound to another host key is refused before anyone is asked', () => {
  const raw = new RawClient().exchangeKeys()
  raw.send(serviceRequest.encode({ serviceName: 'ssh-userauth' }))
  const fields = publickeyHostboundRequest.encode({
    signed: false,
    algorithm: 'ssh-ed25519',
    publicKey: user.publicKey.blob,
    hostKey: user.publicKey.blob,
    signaturePart: NOTHING,
  })
  raw.send(request('publickey-hostbound-v00@openssh.com', 'eve', fields)).settle()
  assert.is(raw.received.at(-1)?.[0], MSG.USERAUTH_FAILURE)
  assert.is(raw.server.of('question').filter(({ kind }) => kind === 'authenticate').length, 0)
})

test('requests during authentication are bounded, probes included', () => {
  const raw = new RawClient({ authFailuresMax: 1000 }, { type: 'reject' }).exchangeKeys()
  raw.send(serviceRequest.encode({ serviceName: 'ssh-userauth' }))
  for (let sent = 0; sent < 65; sent++) raw.send(request('none'))
  ends(raw, 'SSH_AUTHENTICATION', /too many/)
})

test('authentication requests after success are ignored', () => {
  const raw = new RawClient().logIn().send(request('none')).send(request('password')).settle()
  assert.is(raw.server.error, undefined)
})

test('strict key exchange refuses IGNORE before NEWKEYS', () => {
  const raw = new RawClient()
  raw.kex.start()
  raw.send(ignore.encode({ data: NOTHING }))
  ends(raw, 'SSH_PROTOCOL', /IGNORE is not allowed in key-exchange/)
})

test('messages nobody knows are answered UNIMPLEMENTED with their number', () => {
  const raw = new RawClient()
    .logIn()
    .send(Uint8Array.of(150, 1, 2, 3))
    .settle()
  const answer = raw.received.at(-1)
  assert.is(answer?.[0], MSG.UNIMPLEMENTED)
  // Sequence numbers start over at NEWKEYS: SERVICE_REQUEST 0, USERAUTH_REQUEST 1, this 2.
  assert.equal(answer, Uint8Array.of(3, 0, 0, 0, 2))
  assert.is(raw.server.error, undefined)
})

test('key exchange messages out of turn are refused', () => {
  const raw = new RawClient().logIn().send(kexInit.encode({ ephemeralPublicKey: NOTHING }))
  ends(raw, 'SSH_PROTOCOL', /KEX_INIT/)
})

test('nothing but the exchange may follow a KEXINIT', () => {
  const raw = inSession()
  raw.kex.start()
  raw.send(channelData.encode({ recipientChannel: 0, data: Uint8Array.of(1) }))
  ends(raw, 'SSH_PROTOCOL', /CHANNEL_DATA is not allowed/)
})

test('AsyncSSH 2.10, which goes on after a later KEXINIT, is heard; not in the first exchange', () => {
  const asyncssh = (): RawClient => new RawClient({}, { type: 'accept' }, 'SSH-2.0-AsyncSSH_2.10.1')
  const data = channelData.encode({ recipientChannel: 0, data: Uint8Array.of(1, 2, 3) })
  const raw = asyncssh().logIn().send(session()).settle()
  raw.server.machine.acceptChannel(0)
  raw.settle().kex.start()
  raw.send(data).settle()
  assert.is(raw.server.error, undefined)
  assert.equal(raw.server.of('channel-data')[0]?.data, Uint8Array.of(1, 2, 3))
  assert.is(raw.server.of('keys').length, 2)
  const early = asyncssh()
  early.kex.start()
  ends(early.send(data), 'SSH_PROTOCOL', /CHANNEL_DATA is not allowed in key-exchange/)
})

test('an EXT_INFO in the middle of the connection is refused', () => {
  ends(new RawClient().logIn().send(extInfo.encode({ extensions: [] })), 'SSH_PROTOCOL', /EXT_INFO/)
})

test('EXT_INFO without end is refused, and what is unknown in it is not kept', () => {
  const raw = new RawClient().exchangeKeys()
  const told = (name: string): Uint8Array =>
    extInfo.encode({ extensions: [{ name, value: Uint8Array.of(48) }] })
  raw.send(told('a@example')).send(told('ext-info-in-auth@openssh.com')).settle()
  assert.is(raw.server.error, undefined)
  ends(raw.send(told('c@example')), 'SSH_PROTOCOL', /EXT_INFO is not allowed/)
})

test('answers held back during a key exchange are bounded', () => {
  const raw = inSession()
  raw.server.machine.rekey()
  // The machine has sent its KEXINIT; a peer that asks on instead of answering it must not fill us.
  for (let sent = 0; sent < 20; sent++) raw.send(ping.encode({ data: new Uint8Array(250_000) }))
  ends(raw, 'SSH_LIMIT', /key exchange/)
})

test('more data than the window allows is refused', () => {
  const raw = new RawClient({ windowBytes: 100 }).logIn().send(session()).settle()
  raw.server.machine.acceptChannel(0)
  raw.send(channelData.encode({ recipientChannel: 0, data: new Uint8Array(101) }))
  ends(raw, 'SSH_PROTOCOL', /window/)
})

test('data for a channel that was never accepted, or is closed, is refused', () => {
  const data = channelData.encode({ recipientChannel: 0, data: Uint8Array.of(1) })
  ends(new RawClient().logIn().send(session()).send(data), 'SSH_PROTOCOL', /not open/)
  const raw = inSession()
    .send(channelClose.encode({ recipientChannel: 0 }))
    .send(data)
  ends(raw, 'SSH_PROTOCOL', /not open/)
})

test('data after EOF is refused, a second EOF is nothing new', () => {
  const eof = channelEof.encode({ recipientChannel: 0 })
  const { server } = inSession().send(eof).send(eof).settle()
  assert.is(server.error, undefined)
  assert.is(server.of('channel-eof').length, 1)
  const data = channelData.encode({ recipientChannel: 0, data: Uint8Array.of(1) })
  ends(inSession().send(eof).send(data), 'SSH_PROTOCOL', /after EOF/)
})

test('a window that overflows is refused', () => {
  const adjust = channelWindowAdjust.encode({ recipientChannel: 0, bytesToAdd: 0xffffffff })
  ends(inSession().send(adjust), 'SSH_PROTOCOL', /2\^32/)
})

test('a channel that could carry nothing is refused', () => {
  const raw = new RawClient().logIn().send(session({ maximumPacketSize: 0 }))
  ends(raw, 'SSH_PROTOCOL', /hold nothing/)
})

test('replies to nothing shift nothing', () => {
  const raw = inSession().send(channelSuccess.encode({ recipientChannel: 0 }))
  raw.send(Uint8Array.of(MSG.REQUEST_FAILURE)).settle()
  assert.is(raw.server.error, undefined)
  assert.is(raw.server.of('channel-reply').length + raw.server.of('global-reply').length, 0)
})

test('a peer that asks without ever reading the answers is cut off', () => {
  const raw = new RawClient().logIn()
  const data = new Uint8Array(200_000)
  // Nothing is taken from the server's output while these arrive.
  const { machine } = raw.server
  const take = machine.takeOutput.bind(machine)
  machine.takeOutput = () => undefined
  for (let sent = 0; sent < 60; sent++) raw.send(ping.encode({ data })).settle()
  machine.takeOutput = take
  assert.is((raw.settle().server.error as SshError | undefined)?.code, 'SSH_LIMIT')
})

test('requests that wait for an answer are bounded', () => {
  const fields = { requestType: 'env', wantReply: true, requestSpecific: NOTHING }
  const raw = inSession()
  for (let sent = 0; sent < 257; sent++) {
    raw.send(channelRequest.encode({ recipientChannel: 0, ...fields }))
  }
  ends(raw, 'SSH_LIMIT', /requests without a reply/)
  const other = new RawClient().logIn()
  for (let sent = 0; sent < 257; sent++) {
    const wanted = { requestName: 'x', wantReply: true, requestSpecific: NOTHING }
    other.send(globalRequest.encode(wanted))
  }
  ends(other, 'SSH_LIMIT', /requests without a reply/)
})

test('random payloads never get out as anything but an SshError', () => {
  for (let seed = 1; seed <= 300; seed++) {
    const random = seededRandom(seed)
    const raw = inSession()
    for (let sent = 0; sent < 20 && !raw.server.machine.closed; sent++) {
      const payload = new Uint8Array(1 + random.below(60))
      for (let at = 0; at < payload.length; at++) {
        payload[at] = random.below(3) === 0 ? random.below(256) : 0
      }
      payload[0] = random.below(4) === 0 ? random.below(256) : 80 + random.below(21)
      raw.send(payload).settle()
    }
    const { error } = raw.server
    assert.ok(error === undefined || error instanceof SshError, `seed ${seed}: ${error}`)
    assert.is.not((error as SshError | undefined)?.code, 'SSH_INTERNAL', `seed ${seed}: ${error}`)
  }
})

test('random bytes instead of packets end the connection cleanly', () => {
  for (let seed = 1; seed <= 300; seed++) {
    const random = seededRandom(seed)
    const raw = new RawClient()
    raw.server.machine.receive(new TextEncoder().encode('SSH-2.0-x\r\n'))
    const bytes = new Uint8Array(200)
    for (let at = 0; at < bytes.length; at++) bytes[at] = random.below(256)
    bytes.set([0, 0], 0)
    raw.server.machine.receive(bytes)
    raw.server.drain()
    const { error } = raw.server
    assert.is.not((error as SshError | undefined)?.code, 'SSH_INTERNAL', `seed ${seed}: ${error}`)
  }
})

test.run()
