// Peers written in Python: one process a library, which does what it is told in lines of JSON.

import { type ChildProcessByStdio, spawn, spawnSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import type { Readable, Writable } from 'node:stream'
import { root } from '../../scripts/bundle.mjs'
import { temporaryFolder } from './folder.ts'
import type { PeerClient, PeerServer, SecretMethod } from './peer.ts'

const python = '/usr/bin/python3'

/** What a script is told: `do` names its function. */
type Request = Readonly<Record<string, unknown>> & { readonly do: 'execute' | 'serve' | 'stop' }

interface Reply {
  readonly id: number
  readonly error?: string
  readonly code?: number
  readonly port?: number
}

/** A running script. It ends with this process, as its stdin does. */
class Script {
  readonly #child: ChildProcessByStdio<Writable, Readable, null>
  readonly #waiting = new Map<number, (reply: Reply) => void>()
  #requests = 0

  constructor(name: string) {
    const path = join(root, 'conformance/peers', name)
    this.#child = spawn(python, ['-W', 'ignore', path], { stdio: ['pipe', 'pipe', 'ignore'] })
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

/** How a library is found, and what it can do. */
export interface Library {
  /** Name of the peer and of the module. */
  readonly name: string
  readonly script: string
  readonly package: string
  readonly secrets: readonly SecretMethod[]
  readonly loadBytes?: number
}

/** What both roles of a library say of it. */
function described(library: Library): Omit<PeerClient, 'exec' | 'copy' | 'stop'> {
  const { name, secrets, loadBytes } = library
  return { name, secrets, rekeys: true, missing: absent(library), ...(loadBytes && { loadBytes }) }
}

function absent({ name, package: aptPackage }: Library): string | undefined {
  const { status } = spawnSync(python, ['-W', 'ignore', '-c', `import ${name}`])
  return status === 0 ? undefined : `${name} not installed (apt install ${aptPackage})`
}

/** The client of a library. */
export function pythonClient(library: Library): PeerClient {
  let script: Script | undefined
  const folder = temporaryFolder()
  return {
    ...described(library),
    exec: async ({ port, username, hostKey, proof, rekeyBytes }, command, stdin) => {
      script ??= new Script(library.script)
      const [input, output] = [join(folder, 'input'), join(folder, 'output')]
      writeFileSync(input, stdin)
      const { type, blob } = hostKey.publicKey
      const { code } = await script.ask({
        ...{ do: 'execute', port, username, command, input, output, rekeyBytes },
        hostKey: [type, Buffer.from(blob).toString('base64')],
        ...('key' in proof
          ? { method: 'publickey', key: proof.path, keyType: proof.key.publicKey.type }
          : proof),
      })
      return { code, stdout: readFileSync(output) }
    },
    stop: async () => script?.end(),
  }
}

/** The server of a library, in a process of its own each time. */
export function pythonServer(library: Library): PeerServer {
  return {
    ...described(library),
    start: async ({ username, password, hostKeys, userKeys, rekeyBytes }) => {
      const script = new Script(library.script)
      const userKeysPath = join(temporaryFolder(), 'authorized_keys')
      writeFileSync(userKeysPath, userKeys.map(({ key }) => `${key.publicKey}\n`).join(''))
      const { port = 0 } = await script.ask({
        ...{ do: 'serve', username, password, rekeyBytes, userKeys: userKeysPath },
        hostKeys: hostKeys.map(({ key, path }) => [key.publicKey.type, path]),
      })
      return { port, stop: async () => script.end() }
    },
  }
}
