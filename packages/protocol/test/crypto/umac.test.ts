// UMAC against the vectors of its RFC, and against OpenSSH for what the RFC has no vectors of.

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { type AddressInfo, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { aes128Ctr } from '../../src/algorithms/ciphers.ts'
import { umac64, umac64Etm, umac128, umac128Etm } from '../../src/algorithms/umac.ts'
import { defaultCrypto } from '../../src/crypto/native.ts'
import { nobleCrypto } from '../../src/crypto/noble.ts'
import { umac } from '../../src/crypto/umac.ts'
import { ignore } from '../../src/deferred.ts'
import { nodeSocket } from '../../src/io/node-socket.ts'
import { serve } from '../../src/server.ts'
import { hostKey, userKey } from '../connected.ts'
import { toHex } from '../suites/crypto-provider.ts'
import { testWith } from '../suites/programs.ts'
import { within } from '../within.ts'

const ascii = (text: string): Uint8Array => new TextEncoder().encode(text)
const key = ascii('abcdefghijklmnop')
const nonce = ascii('bcdefghi')

test('UMAC-64 gives the tags of RFC 4418', () => {
  const cases: readonly (readonly [string, string])[] = [
    ['', '6e155fad26900be1'],
    ['a'.repeat(3), '44b5cb542f220104'],
    ['a'.repeat(2 ** 10), '26bf2f5d60118bd9'],
    ['a'.repeat(2 ** 15), '27f8ef643b0d118d'],
    ['a'.repeat(2 ** 20), 'a4477e87e9f55853'],
    ['abc', 'd4d7b9f6bd4fbfcf'],
    ['abc'.repeat(500), 'd4cf26ddefd5c01a'],
  ]
  for (const crypto of [defaultCrypto(), nobleCrypto]) {
    const tag = umac(crypto, key, 8)
    for (const [message, expected] of cases) {
      assert.is(toHex(tag(nonce, ascii(message))), expected, `${message.length} bytes`)
    }
  }
})

test('every bit of the message, and its length, counts', () => {
  for (const tagBytes of [8, 16] as const) {
    const tag = umac(defaultCrypto(), key, tagBytes)
    for (const length of [1, 31, 32, 33, 1023, 1024, 1025, 2047, 5000]) {
      const message = new Uint8Array(length)
      const zero = toHex(tag(nonce, message))
      assert.is(zero.length, tagBytes * 2)
      for (let at = 0; at < length; at += 1 + Math.floor(length / 40)) {
        message[at] = 0x80
        assert.is.not(toHex(tag(nonce, message)), zero, `byte ${at} of ${length}`)
        message[at] = 0
      }
      assert.is.not(toHex(tag(nonce, new Uint8Array(length + 1))), zero)
      assert.is.not(toHex(tag(ascii('bcdefghj'), message)), zero)
    }
  }
})

test('other sizes are refused', () => {
  const tag = umac(defaultCrypto(), key, 8)
  assert.throws(() => umac(defaultCrypto(), new Uint8Array(32), 8), /16 bytes/)
  assert.throws(() => tag(new Uint8Array(4), key), /8 bytes/)
  assert.throws(() => tag(nonce, new Uint8Array(2 ** 24 + 1)), /16 MiB/)
})

testWith(['ssh'], 'OpenSSH makes the same tags, of both lengths and both ways', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'umac-'))
  writeFileSync(join(folder, 'key'), userKey.toOpenSsh(), { mode: 0o600 })
  const sizes = [1, 1000, 40_000]
  for (const mac of [umac64, umac64Etm, umac128, umac128Etm]) {
    const agreed: string[] = []
    const server = createServer((socket) => {
      serve(nodeSocket(socket), {
        hostKeys: [hostKey],
        auth: { publickey: ({ key: shown }) => shown.equals(userKey.publicKey) },
        algorithms: (all) => ({ ...all, ciphers: [aes128Ctr], macs: [mac] }),
        exec: async (session) => {
          for (const size of sizes) await session.write(new Uint8Array(size).fill(0x61))
          return 0
        },
      }).then((connection) => {
        agreed.push(connection.negotiated.macIn, connection.negotiated.macOut)
      }, ignore)
    }).listen(0, '127.0.0.1')
    await once(server, 'listening')
    const { port } = server.address() as AddressInfo
    writeFileSync(join(folder, 'known'), `[127.0.0.1]:${port} ${hostKey.publicKey}\n`)
    const options = ['IdentitiesOnly=yes', 'BatchMode=yes', `MACs=${mac.name}`]
    options.push(`UserKnownHostsFile=${join(folder, 'known')}`, 'Ciphers=aes128-ctr')
    const args = ['-F', 'none', '-i', join(folder, 'key'), '-p', String(port)]
    args.push(...options.flatMap((option) => ['-o', option]), 'ada@127.0.0.1', 'x')
    const child = spawn('ssh', args, { stdio: ['ignore', 'pipe', 'pipe'] })
    let bytes = 0
    let said = ''
    child.stdout.on('data', (chunk: Uint8Array) => {
      bytes += chunk.length
    })
    child.stderr.on('data', (chunk) => {
      said += chunk
    })
    const [code] = await within(30_000, once(child, 'close'))
    assert.is(code, 0, said)
    assert.is(
      bytes,
      sizes.reduce((sum, size) => sum + size, 0),
    )
    assert.equal(agreed, [mac.name, mac.name])
    server.close()
  }
  rmSync(folder, { recursive: true })
})

test.run()
