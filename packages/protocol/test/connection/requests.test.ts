import fc from 'fast-check'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import * as forwarding from '../../src/connection/forwarding.ts'
import * as requests from '../../src/connection/requests.ts'
import { SshError } from '../../src/errors.ts'
import type { Struct } from '../../src/wire/message.ts'

const uint32 = fc.integer({ min: 0, max: 0xffffffff })
// Lone surrogates have no UTF-8, so they cannot come back.
const text = fc.string({ unit: 'grapheme' })
const bytes = fc.uint8Array({ maxLength: 100 })
const size = { columns: uint32, rows: uint32, widthPixels: uint32, heightPixels: uint32 }

/** Each codec with values for it. */
const codecs: readonly [string, Struct<object>, fc.Arbitrary<object>][] = [
  ['pty-req', requests.ptyRequest, fc.record({ term: text, ...size, modes: bytes })],
  ['window-change', requests.windowChange, fc.record(size)],
  ['env', requests.environment, fc.record({ name: text, value: text })],
  ['exec', requests.exec, fc.record({ command: bytes })],
  ['subsystem', requests.subsystem, fc.record({ name: text })],
  ['signal', requests.signal, fc.record({ name: text })],
  ['break', requests.breakRequest, fc.record({ lengthMs: uint32 })],
  ['xon-xoff', requests.xonXoff, fc.record({ clientCanDo: fc.boolean() })],
  ['x11', forwarding.x11, fc.record({ originatorHost: text, originatorPort: uint32 })],
  ['exit-status', requests.exitStatus, fc.record({ code: uint32 })],
  [
    'exit-signal',
    requests.exitSignal,
    fc.record({ name: text, coreDumped: fc.boolean(), message: text, languageTag: text }),
  ],
  [
    'direct-tcpip',
    forwarding.directTcpip,
    fc.record({ host: text, port: uint32, originatorHost: text, originatorPort: uint32 }),
  ],
  [
    'forwarded-tcpip',
    forwarding.forwardedTcpip,
    fc.record({
      connectedHost: text,
      connectedPort: uint32,
      originatorHost: text,
      originatorPort: uint32,
    }),
  ],
  ['tcpip-forward', forwarding.tcpipForward, fc.record({ host: text, port: uint32 })],
  ['the reply to tcpip-forward', forwarding.chosenPort, fc.record({ port: uint32 })],
  [
    'direct-streamlocal',
    forwarding.directStreamlocal,
    fc.record({ path: text, reserved: bytes, reservedNumber: uint32 }),
  ],
  ['streamlocal-forward', forwarding.streamlocalForward, fc.record({ path: text })],
  [
    'forwarded-streamlocal',
    forwarding.forwardedStreamlocal,
    fc.record({ path: text, reserved: bytes }),
  ],
] as unknown as [string, Struct<object>, fc.Arbitrary<object>][]

for (const [name, codec, values] of codecs) {
  test(`${name}: decoding undoes encoding, and nothing may follow`, () => {
    fc.assert(
      fc.property(values, (value) => {
        const encoded = codec.encode(value)
        assert.equal({ ...codec.decode(encoded) }, { ...value })
        const longer = new Uint8Array(encoded.length + 1)
        longer.set(encoded)
        assert.throws(() => codec.decode(longer), isProtocolError)
      }),
    )
  })

  test(`${name}: whatever bytes come, a value or an SshError results`, () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 60 }), (input) => {
        try {
          codec.decode(input)
        } catch (error) {
          assert.ok(isProtocolError(error as Error))
        }
      }),
    )
  })
}

function isProtocolError(error: Error): boolean {
  return error instanceof SshError && error.code === 'SSH_PROTOCOL'
}

test('an exec request is the string of RFC 4254 §6.5', () => {
  const command = new TextEncoder().encode('ls')
  assert.equal(requests.exec.encode({ command }), new Uint8Array([0, 0, 0, 2, 108, 115]))
})

test.run()
