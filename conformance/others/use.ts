// What a client of another implementation is used for.

import type { Login, PeerClient } from '../peers/peer.ts'

/** Sends data through the client and gives what comes back; throws unless all went well. */
export async function use(client: PeerClient, login: Login, data: Uint8Array): Promise<Uint8Array> {
  if (client.exec === undefined) return (await client.copy?.(login, data)) ?? new Uint8Array()
  const { code, stdout, problem } = await client.exec(login, 'cat; exit 7', data)
  if (code !== told(client, 7)) throw new Error(`${client.name} ended with ${code}: ${problem}`)
  return stdout
}

/** What a client tells of an exit status. */
export function told({ tellsStatus = true }: PeerClient, code: number): number | undefined {
  return tellsStatus ? code : undefined
}
