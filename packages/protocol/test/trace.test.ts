// The trace shows how a connection goes, and nothing that is a secret or somebody's data.

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { password } from '../src/auth-methods.ts'
import { messageName, traceLine } from '../src/trace.ts'
import { disconnect } from '../src/wire/transport.ts'
import { connected, hangUp } from './connected.ts'
import { within } from './within.ts'

test('messages are named, sized and told apart', async () => {
  const lines: string[] = []
  const both = await within(
    10_000,
    connected({
      client: {
        username: 'ada-the-user',
        auth: [password('pass-the-word')],
        trace: (line) => lines.push(line),
      },
      server: {
        auth: { password: () => true },
        exec: async (session) => {
          await session.write(new TextEncoder().encode('the-output'))
          return 0
        },
      },
    }),
  )
  await both.client.run('the-command', { env: { NAME: 'the-value' }, stdin: 'the-input' })
  await hangUp(both)
  const text = lines.join('\n')
  for (const secret of [
    'ada-the',
    'pass-the',
    'the-output',
    'the-command',
    'the-value',
    'the-in',
  ]) {
    assert.not.match(text, secret)
  }
  for (const line of [
    /^> KEXINIT \(\d+ bytes\) key exchange mlkem768x25519-sha256 .*; host key ssh-ed25519 /m,
    /^ {2}keys in force: mlkem768x25519-sha256 \(post-quantum\), host key ssh-ed25519, cipher /m,
    /^> SERVICE_REQUEST \(\d+ bytes\) ssh-userauth$/m,
    /^< EXT_INFO \(\d+ bytes\) server-sig-algs /m,
    /^> USERAUTH_REQUEST \(\d+ bytes\) password$/m,
    /^> CHANNEL_OPEN \(\d+ bytes\) channel 0: session$/m,
    /^> CHANNEL_REQUEST \(\d+ bytes\) channel 0: exec$/m,
    /^< CHANNEL_REQUEST \(\d+ bytes\) channel 0: exit-status$/m,
    /^> DISCONNECT \(\d+ bytes\) reason 11: /m,
  ]) {
    assert.match(text, line)
  }
})

test('text of a peer cannot write what it likes into a trace', () => {
  const description = 'a\n< fake (1 bytes)\u001b[2J\u202e'
  const message = disconnect.encode({ reasonCode: 2, description, languageTag: '' })
  assert.is(
    traceLine('in', message),
    `< DISCONNECT (${message.length} bytes) reason 2: a < fake (1 bytes) [2J `,
  )
  assert.is(traceLine('in', Uint8Array.of(1)), '< DISCONNECT (1 bytes)')
  assert.is(traceLine('in', Uint8Array.of(94)), '< CHANNEL_DATA (1 bytes)')
  assert.is(traceLine('out', new Uint8Array(0)), '> message 0 (0 bytes)')
  assert.is(messageName(250), 'message 250')
})

test.run()
