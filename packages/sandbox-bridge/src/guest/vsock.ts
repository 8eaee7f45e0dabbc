/** Listening on vsock: Deno's own, else through socat; Node and Bun know no such sockets. */
import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { denoConn } from '@sandbox-ssh/protocol'
import { keepTail } from '../carriers/stdio.ts'
import { reasonOf } from '../home/errors.ts'
import type { GuestAgent } from './agent.ts'
import { listenRelay } from './relay.ts'

/** VMADDR_CID_ANY: whatever this machine's own context id is. */
const CID_ANY = 0xffff_ffff

interface DenoListen {
  listen?(options: {
    readonly transport: 'vsock'
    readonly cid: number
    readonly port: number
  }): AsyncIterable<Parameters<typeof denoConn>[0]>
}

/**
 * Serves every connection to the port, for ever.
 * @throws Error if this runtime cannot, and socat is not installed or fails
 */
export async function serveVsock(port: number, guest: GuestAgent): Promise<never> {
  const { Deno: deno } = globalThis as { Deno?: DenoListen }
  if (deno?.listen !== undefined) {
    for await (const conn of deno.listen({ transport: 'vsock', cid: CID_ANY, port })) {
      void guest.serve(denoConn(conn))
    }
    throw new Error(`vsock port ${port} was closed`)
  }
  const folder = mkdtempSync(join(tmpdir(), 'msb-vsock-'))
  const socket = join(folder, 'agent.sock')
  process.once('exit', () => rmSync(folder, { recursive: true, force: true }))
  await listenRelay(guest, { path: socket })
  const listener = `VSOCK-LISTEN:${port},reuseaddr,fork`
  const socat = spawn('socat', [listener, `UNIX-CONNECT:${socket}`], {
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  process.once('exit', () => socat.kill('SIGKILL'))
  const lastWords = keepTail(socat.stderr)
  const end = await new Promise<string>((resolve) => {
    socat.once('error', (error) => resolve(reasonOf(error)))
    socat.once('close', (code) => resolve(lastWords().trim() || `exit status ${code}`))
  })
  const why = end.includes('ENOENT') ? 'socat is not installed' : `socat: ${end}`
  throw new Error(`this runtime has no vsock of its own, and ${why}`)
}
