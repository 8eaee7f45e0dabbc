// The part of dev-tunnels-ssh that forwards ports. Its declarations do not go together with those
// of today's sets, so that what is used of it is declared here.

import { createRequire } from 'node:module'
import type { SshService, SshSession, SshStream } from '@microsoft/dev-tunnels-ssh'

/** Ports that the other side listens on, as streams. */
interface RemotePortStreamer {
  readonly remotePort: number
  onStreamOpened(listener: (stream: SshStream) => void): unknown
  dispose(): void
}

/** `PortForwardingService`. */
export interface PortForwardingService extends SshService {
  streamToRemotePort(host: string, port: number): Promise<SshStream>
  streamFromRemotePort(host: string, port: number): Promise<RemotePortStreamer | null>
}

/** Its class, by which a configuration and a session know it. */
export const portForwarding: new (session: SshSession) => PortForwardingService = createRequire(
  import.meta.url,
)('@microsoft/dev-tunnels-ssh-tcp').PortForwardingService
