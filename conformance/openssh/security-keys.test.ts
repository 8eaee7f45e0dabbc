// Security keys of both kinds, in software: what ssh signs with them for our server, which demands
// a touch and a PIN where it has to, and what ssh-agent signs with them for our client.

import { appendFileSync, readFileSync } from 'node:fs'
import { createConnection } from 'node:net'
import { join } from 'node:path'
import { agentClient, nodeSocket, publickey } from '@sandbox-ssh/protocol'
import * as assert from 'uvu/assert'
import { features } from '../feature.ts'
import { withAgent } from '../peers/agent.ts'
import { askpass } from '../peers/askpass.ts'
import { connectTo } from '../peers/connect.ts'
import { type Msb, startMsb } from '../peers/msb.ts'
import { OpenSsh, startSshd } from '../peers/openssh.ts'
import { output } from '../peers/run.ts'
import { skDummy, skDummyMissing } from '../peers/security-key.ts'
import { certify, keygen } from './issue.ts'

const env = { SSH_SK_PROVIDER: skDummy ?? '' }
const missing = skDummyMissing
const pin = '1234'

/** Makes a key; `options` as `no-touch-required` and `verify-required`. */
async function securityKey(type: string, ...options: readonly string[]): Promise<string> {
  const args = ['-w', skDummy ?? '', ...options.flatMap((option) => ['-O', option])]
  return keygen(type, args, { ...env, ...askpass([pin, pin]).env })
}

const client = features('OpenSSH', 'client', 'security keys')
let starting: Promise<Msb> | undefined
const served = (): Promise<Msb> => {
  starting ??= startMsb()
  return starting
}
let sources = 1

/** Authorizes the key with these options and logs in with it, or with its certificate. */
async function enters(
  identity: string,
  options = '',
  authority?: string,
): Promise<{ readonly code: number | undefined; readonly stderr: string }> {
  const msb = await served()
  const line = readFileSync(`${authority ?? identity}.pub`, 'utf8')
  const all = [...(authority === undefined ? [] : ['cert-authority']), options].filter(Boolean)
  appendFileSync(
    join(msb.home, 'ssh/authorized_keys'),
    `${all.join(',')}${all.length === 0 ? '' : ' '}${line}`,
  )
  // From an address of its own each time: the server puts off one where logins fail.
  sources++
  const configuration = [
    `BindAddress 127.0.2.${sources}`,
    'BatchMode no',
    `SecurityKeyProvider ${skDummy}`,
  ]
  const openssh = new OpenSsh({ ...msb, identity }, configuration)
  return openssh.ssh('true', { env: { ...env, ...askpass([pin]).env } })
}

function lets(
  name: string,
  enter: () => Promise<{ readonly code: number | undefined; readonly stderr: string }>,
  isIn: boolean,
): void {
  const body = async (): Promise<void> => {
    const { code, stderr } = await enter()
    assert.is(code, isIn ? 0 : 255, stderr)
  }
  client(name, body, { missing })
}

for (const type of ['ed25519-sk', 'ecdsa-sk']) {
  lets(`${type} that was touched enters`, async () => enters(await securityKey(type)), true)
  lets(
    `${type} that was not touched does not`,
    async () => enters(await securityKey(type, 'no-touch-required')),
    false,
  )
  lets(
    `${type} that was not touched enters where the line says no-touch-required`,
    async () => enters(await securityKey(type, 'no-touch-required'), 'no-touch-required'),
    true,
  )
  lets(
    `${type} without a PIN does not where the line says verify-required`,
    async () => enters(await securityKey(type), 'verify-required'),
    false,
  )
  lets(
    `${type} with a PIN enters there`,
    async () => enters(await securityKey(type, 'verify-required'), 'verify-required'),
    true,
  )

  const certified = async (
    key: string,
    lineOptions: string,
    ...certificateOptions: readonly string[]
  ): ReturnType<typeof enters> => {
    const authority = await keygen('ed25519')
    const options = certificateOptions.flatMap((option) => ['-O', option])
    const identity = await certify(authority, key, ['-n', 'root', ...options])
    return enters(identity, lineOptions, authority)
  }
  lets(
    `a certificate for ${type} that was touched enters`,
    async () => certified(await securityKey(type), ''),
    true,
  )
  lets(
    `a certificate for ${type} that was not touched does not, whatever the line says`,
    async () => certified(await securityKey(type, 'no-touch-required'), 'no-touch-required'),
    false,
  )
  lets(
    `a certificate for ${type} that was not touched enters if line and certificate allow it`,
    async () =>
      certified(
        await securityKey(type, 'no-touch-required'),
        'no-touch-required',
        'no-touch-required',
      ),
    true,
  )
  lets(
    `a certificate that says verify-required for ${type} without a PIN does not`,
    async () => certified(await securityKey(type), '', 'verify-required'),
    false,
  )
  lets(
    `a certificate that says verify-required for ${type} with a PIN enters`,
    async () => certified(await securityKey(type, 'verify-required'), '', 'verify-required'),
    true,
  )

  client(
    `an authority that is ${type} signs`,
    async () => {
      const authority = await securityKey(type)
      const identity = await certify(authority, await keygen('ed25519'), ['-n', 'root'], env)
      const { code, stderr } = await enters(identity, '', authority)
      assert.is(code, 0, stderr)
    },
    { missing },
  )
}
client.after(async () => {
  await (await starting)?.daemon.stop()
})
client.run()

const server = features('OpenSSH', 'server', 'security keys')
for (const type of ['ed25519-sk', 'ecdsa-sk']) {
  server(
    `${type} in ssh-agent, and a certificate for it, log in to sshd`,
    async () => {
      const authority = await keygen('ed25519')
      const key = await securityKey(type)
      const certifiedKey = await certify(authority, key, ['-n', 'root'])
      const line = readFileSync(`${key}.pub`, 'utf8')
      const sshd = await startSshd([`TrustedUserCAKeys ${authority}.pub`], [line])
      try {
        await withAgent(
          async (_, socket) => {
            const agent = agentClient(nodeSocket(createConnection(socket)))
            const add = ['ssh-add', '-q', '-S', skDummy ?? '', certifiedKey]
            await output(add, { env: { ...env, SSH_AUTH_SOCK: socket } })
            const signers = await agent.list()
            assert.is(signers.length, 2)
            for (const signer of signers) {
              const login = await connectTo(sshd, { auth: [publickey(signer)] })
              assert.is((await login.run('echo in')).text(), 'in\n')
              await login.close()
            }
            await agent.close()
          },
          ['-P', skDummy ?? ''],
        )
      } finally {
        await sshd.daemon.stop()
      }
    },
    { missing },
  )
}
server.run()
