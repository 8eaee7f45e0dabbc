import fc from 'fast-check'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { SshError } from '../src/errors.ts'
import { decodeTerminalModes, encodeTerminalModes, opcodeOf } from '../src/terminal-modes.ts'

test('names are those of RFC 4254 §8, with their opcodes', () => {
  assert.is(opcodeOf('VINTR'), 1)
  assert.is(opcodeOf('VDISCARD'), 18)
  assert.is(opcodeOf('IGNPAR'), 30)
  assert.is(opcodeOf('IUTF8'), 42)
  assert.is(opcodeOf('ISIG'), 50)
  assert.is(opcodeOf('PENDIN'), 62)
  assert.is(opcodeOf('OPOST'), 70)
  assert.is(opcodeOf('CS8'), 91)
  assert.is(opcodeOf('TTY_OP_ISPEED'), 128)
  assert.is(opcodeOf('TTY_OP_OSPEED'), 129)
  assert.is(opcodeOf('OP99'), 99)
  for (const unknown of ['', 'vintr', 'OP0', 'OP1', 'OP160', 'OP1000', 'constructor']) {
    assert.is(opcodeOf(unknown), undefined, unknown)
  }
})

test('the encoding is opcode, uint32, and a zero at the end', () => {
  assert.equal(
    encodeTerminalModes({ VINTR: 3, ECHO: 1 }),
    new Uint8Array([1, 0, 0, 0, 3, 53, 0, 0, 0, 1, 0]),
  )
  assert.equal(encodeTerminalModes({}), new Uint8Array([0]))
})

test('what an OpenSSH client sends is understood', () => {
  // The head of a real pty-req of OpenSSH 9.2: speeds first, as 129 and 128.
  const bytes = [129, 0, 0, 0x96, 0, 128, 0, 0, 0x96, 0, 1, 0, 0, 0, 3, 42, 0, 0, 0, 1, 0]
  assert.equal(decodeTerminalModes(new Uint8Array(bytes)), {
    TTY_OP_OSPEED: 38400,
    TTY_OP_ISPEED: 38400,
    VINTR: 3,
    IUTF8: 1,
  })
})

test('decoding undoes encoding', () => {
  const opcode = fc.integer({ min: 1, max: 159 })
  const value = fc.integer({ min: 0, max: 0xffffffff })
  fc.assert(
    fc.property(fc.array(fc.tuple(opcode, value)), (modes) => {
      const named = Object.fromEntries(
        modes.map(([code, argument]) => [nameOf(code), argument] as const),
      )
      assert.equal(decodeTerminalModes(encodeTerminalModes(named)), named)
    }),
  )
})

/** The name of an opcode, by way of decoding it. */
function nameOf(opcode: number): string {
  const [name] = Object.keys(decodeTerminalModes(new Uint8Array([opcode, 0, 0, 0, 0])))
  return name as string
}

test('reading ends at the end mark, at the end, and at an opcode without defined argument', () => {
  assert.equal(decodeTerminalModes(new Uint8Array([])), {})
  assert.equal(decodeTerminalModes(new Uint8Array([53, 0, 0, 0, 1])), { ECHO: 1 })
  assert.equal(decodeTerminalModes(new Uint8Array([0, 53, 0, 0, 0, 1])), {})
  assert.equal(decodeTerminalModes(new Uint8Array([53, 0, 0, 0, 1, 160, 1])), { ECHO: 1 })
})

test('whatever bytes come, modes or an SshError result, at most one an opcode', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 2000 }), (bytes) => {
      try {
        assert.ok(Object.keys(decodeTerminalModes(bytes)).length < 160)
      } catch (error) {
        assert.instance(error, SshError)
      }
    }),
  )
})

test('modes that are unknown or do not fit are refused by name', () => {
  assert.throws(() => encodeTerminalModes({ VNONE: 1 }), /VNONE/)
  assert.throws(() => encodeTerminalModes({ ECHO: -1 }), /ECHO/)
  assert.throws(() => encodeTerminalModes({ ECHO: 2 ** 32 }), /ECHO/)
  assert.throws(() => encodeTerminalModes({ OP160: 1 }), /OP160/)
})

test.run()
