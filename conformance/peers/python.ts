// Peers written in Python: one process a library, which does what it is told in lines of JSON.

import { type ChildProcessByStdio, spawn, spawnSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import type { Readable, Writable } from 'node:stream'
import type { PublicKey } from '@sandbox-ssh/protocol'
import { root } from '../../scripts/bundle.mjs'
import { temporaryFolder } from './folder.ts'
import type { KeyFile, Login, PeerClient, PeerServer } from './peer.ts'

const python = '/usr/bin/python3'

/** What a script is told: `do` names its function. */
type Request = Readonly<Record<string, unknown>> & {
  readonly do: 'execute' | 'together' | 'reach' | 'listen' | 'socks' | 'stop' | 'serve'
}

interface Reply {
  readonly id: number
  readonly error?: string
  readonly code?: number
  readonly port?: number
  readonly codes?: readonly number[]
}

/** A running script. It ends with this process, as its stdin does. */
class Script {
  readonly #child: ChildProcessByStdio<Writable, Readable, null>
  readonly #waiting = new Map<number, (reply: Reply) => void>()
  #requests = 0

  constructor(name: string) {
    const path = join(root, 'conformance/peers', name)
    this.#child = spawn(python, ['-W', 'ignore', path], {
      stdio: ['pipe', 'pipe', 'ignore'],
      // Libraries look for keys and settings of the user.
      env: { ...process.env, HOME: temporaryFolder(), SSH_AUTH_SOCK: '' },
    })
    this.#child.once('exit', () => {
      const error = `${name} ended`
      for (const [id, resolve] of this.#waiting) resolve({ id, error })
    })
    createInterface({ input: this.#child.stdout }).on('line', (line) => {
      const reply = JSON.parse(line) as Reply
      this.#waiting.get(reply.id)?.(reply)
      this.#waiting.delete(reply.id)
    })
  }

  /** Rejects with what went wrong there. */
  async ask(request: Request): Promise<Reply> {
    const id = this.#requests++
    const replied = new Promise<Reply>((resolve) => this.#waiting.set(id, resolve))
    this.#child.stdin.write(`${JSON.stringify({ id, ...request })}\n`)
    const reply = await replied
    if (reply.error !== undefined) throw new Error(reply.error)
    return reply
  }

  end(): void {
    this.#child.stdin.end()
  }
}

/** What a role of a library can do. */
type Abilities = Omit<
  PeerClient,
  'name' | 'missing' | 'exec' | 'together' | 'copy' | 'reach' | 'listen' | 'socks' | 'stop'
>

/** How a library is found, and what it can do. */
export interface Library {
  readonly name: string
  /** In this folder. */
  readonly script: string
  /** Debian's package. */
  readonly package: string
  /** What Python has to be able to do if it is there. */
  readonly probe: string
  readonly client: Abilities
  readonly server: Omit<PeerServer, 'name' | 'missing' | 'start'>
}

function absent({ name, package: aptPackage, probe }: Library): string | undefined {
  const { status } = spawnSync(python, ['-W', 'ignore', '-c', probe])
  return status === 0 ? undefined : `${name} not installed (apt install ${aptPackage})`
}

/** The client of a library. */
export function pythonClient(library: Library): PeerClient {
  const { name, client } = library
  const folder = temporaryFolder()
  let files = 0
  /** Where data for a request goes and comes from: several may be under way. */
  const data = (stdin: Uint8Array): { readonly input: string; readonly output: string } => {
    const paths = { input: join(folder, `${files}.in`), output: join(folder, `${files++}.out`) }
    writeFileSync(paths.input, stdin)
    return paths
  }
  let script: Script | undefined
  const ask = (what: Request['do'], login: Login, request: object): Promise<Reply> => {
    script ??= new Script(library.script)
    return script.ask({ do: what, ...told(login), ...request })
  }
  return {
    ...{ name, missing: absent(library), ...client },
    exec: async (login, command, stdin) => {
      const paths = data(stdin)
      const { code } = await ask('execute', login, { command, ...paths })
      return { code, stdout: readFileSync(paths.output) }
    },
    reach: async (login, place, stdin) => {
      const paths = data(stdin)
      await ask('reach', login, { place, ...paths })
      return readFileSync(paths.output)
    },
    listen: async (login, place) => {
      const { id, port } = await ask('listen', login, { place })
      return {
        place: port === undefined ? place : { port },
        stop: async () => void (await ask('stop', login, { what: id })),
      }
    },
    together: async (login, commands, stdin) => {
      const { input } = data(stdin)
      const outputs = commands.map(() => data(new Uint8Array()).output)
      const { codes = [] } = await ask('together', login, { commands, input, outputs })
      return codes.map((code, at) => ({ code, stdout: readFileSync(outputs[at] ?? '') }))
    },
    socks: async (login) => {
      const { id, port = 0 } = await ask('socks', login, {})
      return { place: { port }, stop: async () => void (await ask('stop', login, { what: id })) }
    },
    stop: async () => script?.end(),
  }
}

/** A login as the scripts read it. */
function told({ hostKey, hostAuthority, proof, through, ...rest }: Login): object {
  return {
    ...rest,
    ...(through && { through: told(through) }),
    hostKey: publicFields(hostKey.publicKey),
    ...(hostAuthority && { hostAuthority: publicFields(hostAuthority) }),
    ...('key' in proof
      ? {
          method: 'publickey',
          key: proof.path,
          certificate: certificateOf(proof),
          publicKey: publicFields(proof.key.publicKey),
        }
      : proof),
  }
}

const certificateOf = ({
  path,
  certificate,
}: Pick<KeyFile, 'path' | 'certificate'>): string | undefined => certificate && `${path}-cert.pub`

const publicFields = ({ type, blob }: PublicKey): readonly [string, string] => [
  type,
  Buffer.from(blob).toString('base64'),
]

/** The server of a library, in a process of its own each time. */
export function pythonServer(library: Library): PeerServer {
  const { name, server } = library
  return {
    ...{ name, missing: absent(library), ...server },
    start: async ({ username, password, hostKeys, userKeys, ...more }) => {
      const { userAuthority, securityKeys = [], rekeyBytes, rounds, newPassword, bothProofs } = more
      const script = new Script(library.script)
      const userKeysPath = join(temporaryFolder(), 'authorized_keys')
      const lines = [
        ...userKeys.map(({ key }) => `${key.publicKey}\n`),
        ...securityKeys.map((key) => `${key}\n`),
        ...(server.certificates === true ? [`cert-authority ${userAuthority}\n`] : []),
      ]
      writeFileSync(userKeysPath, lines.join(''))
      const serving = script.ask({
        ...{ do: 'serve', username, password, rekeyBytes, userKeys: userKeysPath },
        ...{ rounds: rounds ?? [[password]], newPassword, bothProofs },
        hostKeys: hostKeys.map((file) => ({
          ...{ type: file.key.publicKey.type, path: file.path, certificate: certificateOf(file) },
        })),
      })
      const { port = 0 } = await serving.catch((error: unknown) => {
        script.end()
        throw error
      })
      return { port, stop: async () => script.end() }
    },
  }
}
