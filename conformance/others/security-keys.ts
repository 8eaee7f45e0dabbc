// Trials of security keys, of hosts and of users, with a peer at either end.

import { copyFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import {
  certified,
  generateKey,
  issueCertificate,
  type PublicKey,
  pinned,
  publickey,
  type Signer,
} from '@sandbox-ssh/protocol'
import * as assert from 'uvu/assert'
import { bytes, sha256 } from '../data.ts'
import { areaOf } from '../feature.ts'
import { temporaryFolder } from '../peers/folder.ts'
import type { KeyFile, PeerClient, PeerServer, ServerSetup } from '../peers/peer.ts'
import {
  addSecurityKey,
  securityKeyNames,
  skDummyMissing,
  withSecurityKey,
} from '../peers/security-key.ts'
import type { Keys } from './keys.ts'
import { withOurClient } from './our-client.ts'
import { accepting, withOurServer } from './our-server.ts'
import type { Proposal } from './proposal.ts'
import type { Trial } from './trial.ts'
import { use } from './use.ts'
import { username } from './user.ts'

const data = bytes(10_000)

/** A key by itself or under a certificate of an authority of its own. */
interface Subject {
  readonly file: KeyFile<Signer>
  readonly signer: Signer
  readonly socket: string
  readonly authority: PublicKey
}

/** A trial with the key, and one with a certificate for it if those are known. */
function trials(
  area: string,
  role: 'user' | 'host',
  certificates: boolean,
  run: (subject: Subject, name: string) => Promise<void>,
  known: (name: string) => boolean = () => true,
): readonly Trial[] {
  const missing = skDummyMissing
  return securityKeyNames.flatMap((plain) => {
    const shown = plain.replace('@openssh.com', '-cert-v01@openssh.com')
    return [plain, ...(certificates ? [shown] : [])].filter(known).map((name) => ({
      ...{ area, name, ...(missing !== undefined && { missing }) },
      run: () =>
        withSecurityKey(plain, async (file, socket) => {
          const authority = generateKey('ed25519')
          const { publicKey } = authority
          if (name === plain) {
            return run({ file, signer: file.key, socket, authority: publicKey }, name)
          }
          const principals = [role === 'user' ? username : '127.0.0.1']
          const hourMs = 3_600_000
          const certificate = await issueCertificate(authority, {
            ...{ key: file.key.publicKey, role, principals, keyId: role },
            validBeforeMs: Date.now() + hourMs,
          })
          const path = join(temporaryFolder(), 'id')
          for (const end of ['', '.pub']) copyFileSync(`${file.path}${end}`, `${path}${end}`)
          writeFileSync(`${path}-cert.pub`, `${certificate}\n`)
          await addSecurityKey(path, socket)
          const signer = certified(file.key, certificate)
          const own = { key: file.key, path, certificate }
          await run({ file: own, signer, socket, authority: publicKey }, name)
        }),
    }))
  })
}

/** A client meets a host with such a key, and logs in with one. */
export function securityKeysOfClient(
  client: PeerClient,
  keys: Keys,
  proposal: Proposal,
): readonly Trial[] {
  const first = keys.usual
  const certificates = client.certificates === true
  const host = ({ file, signer, authority }: Subject, name: string): Promise<void> =>
    withOurServer(signer, { auth: accepting(first) }, async (server) => {
      const trust = file.certificate && { hostAuthority: authority }
      const login = { port: server.port, username, hostKey: file.key, proof: first, ...trust }
      const came = await use(client, login, data)
      assert.is(sha256(came), sha256(data), server.report())
      assert.is(server.connections[0]?.negotiated.hostKey, name)
    })
  const user = ({ file, socket, authority }: Subject): Promise<void> =>
    withOurServer(first.key, { auth: accepting(file, authority) }, async (server) => {
      const proof = client.securityKeys === 'by agent' ? { ...file, path: '/nowhere' } : file
      const agent = client.securityKeys === 'by agent' ? { agent: socket } : {}
      const login = { port: server.port, username, hostKey: first.key, proof, ...agent }
      const came = await use(client, login, data).catch((error: unknown) => {
        throw new Error(`${error}\n${server.report()}`)
      })
      assert.is(sha256(came), sha256(data), server.report())
    })
  const proposed = (name: string): boolean => proposal.hostKeys.includes(name)
  return [
    ...trials(`${areaOf.client}: host keys`, 'host', certificates, host, proposed),
    ...(client.securityKeys === undefined
      ? []
      : trials(`${areaOf.client}: user keys`, 'user', certificates, user)),
  ]
}

/** Our client logs in to a server with such a key, and meets one with such a key. */
export function securityKeysOfServer(
  peer: PeerServer,
  setup: ServerSetup,
  keys: Keys,
): readonly Trial[] {
  const certificates = peer.certificates === true
  const user = async ({ file, signer, authority }: Subject): Promise<void> => {
    const securityKeys = [file.key.publicKey]
    const hostKeys = [keys.usual]
    const own = await peer.start({ ...setup, hostKeys, securityKeys, userAuthority: authority })
    try {
      await withOurClient(own, keys, { auth: [publickey(signer)] }, async (client) => {
        assert.is((await client.run('exit 7')).code, 7)
      })
    } finally {
      await own.stop()
    }
  }
  const host = async ({ file, signer }: Subject, name: string): Promise<void> => {
    // sshd wants the key by itself, too.
    const { key, path } = file
    const own = await peer.start({ ...setup, hostKeys: [{ key, path }, file] })
    try {
      const algorithms = { hostKey: pinned(signer.publicKey) }
      await withOurClient(own, keys, algorithms, async (client) => {
        assert.is((await client.run('exit 7')).code, 7)
        assert.is(client.negotiated.hostKey, name)
      })
    } finally {
      await own.stop()
    }
  }
  const { securityKeys } = peer
  return [
    ...(securityKeys === undefined
      ? []
      : trials(`${areaOf.server}: user keys`, 'user', certificates, user)),
    ...(securityKeys === 'of users and hosts'
      ? trials(`${areaOf.server}: host keys`, 'host', certificates, host)
      : []),
  ]
}
