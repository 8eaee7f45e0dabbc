/**
 * The SSH protocol: `connect` makes a client and `serve` a server, over any `Transport`. Everything
 * rejects with an `SshError`, whose `code` tells what went wrong.
 */
export type { KeyConstraints } from './agent/added-key.ts'
export { type AgentKeysOptions, agentKeys } from './agent/auth.ts'
export { type AddOptions, type AgentClient, agentClient } from './agent/client.ts'
export type {
  AgentPath,
  BoundSession,
  DestinationConstraint,
  DestinationHost,
  DestinationKey,
} from './agent/destinations.ts'
export {
  type ConfirmRequest,
  Keyring,
  type KeyringOptions,
} from './agent/keyring.ts'
export { type ServeAgentOptions, serveAgent } from './agent/server.ts'
export * from './algorithms/modern.ts'
export { type Attestation, attestationOf, attests } from './algorithms/security-keys.ts'
export * from './algorithms/spec.ts'
export {
  type AuthContext,
  type AuthMethod,
  type AuthPlan,
  type AuthRun,
  type AuthState,
  type AuthSteps,
  type Challenge,
  hostbased,
  keyboardInteractive,
  none,
  type PasswordOptions,
  password,
  publickey,
  type SignerSource,
} from './auth-methods.ts'
export { Channel, type StderrMode } from './channel.ts'
export { type Client, connect } from './client.ts'
export type { RemoteConnection, RemoteListener } from './client-forwards.ts'
export type {
  ClientOptions,
  ExecOptions,
  HostKeyDecision,
  SubsystemOptions,
} from './client-options.ts'
export type { DirectTcpip, TcpipForward, X11Origin } from './connection/forwarding.ts'
export * as forwarding from './connection/forwarding.ts'
export type { X11Request } from './connection/requests.ts'
export * as requests from './connection/requests.ts'
export type { Connection } from './connection.ts'
export type { ConnectionOptions } from './connection-options.ts'
export { equalBytes } from './crypto/equal-bytes.ts'
export { defaultCrypto, nativeCrypto } from './crypto/native.ts'
export { nobleCrypto } from './crypto/noble.ts'
export * from './crypto/provider.ts'
export * from './errors.ts'
export * from './io/deno-conn.ts'
export type { IncomingConnection, Listener } from './io/listener.ts'
// Not what takes an end for a session in clear: with that it could be carried elsewhere.
export { isMemoryPair, type MemoryPairOptions, memoryPair } from './io/memory.ts'
export * from './io/node-listener.ts'
export * from './io/node-socket.ts'
export * from './io/node-streams.ts'
export * from './io/transport.ts'
export * from './io/web-socket.ts'
export * from './io/web-streams.ts'
export * from './keys/allowed-signers.ts'
export {
  type Authorization,
  type AuthorizationRequest,
  authorize,
} from './keys/authorization.ts'
export * from './keys/authorized-keys.ts'
export * from './keys/certificate.ts'
export * from './keys/known-hosts.ts'
export * from './keys/known-hosts-changes.ts'
export * from './keys/private-key.ts'
export * from './keys/public-key.ts'
export * from './keys/public-key-file.ts'
export { Revocations } from './keys/revocation.ts'
export * from './keys/ssh-signature.ts'
export * from './keys/web-crypto.ts'
export type { ConnectionLimits, Keepalive } from './link.ts'
export type { AuthAttempt, Negotiated, Prompt, SessionBinding } from './machine/event.ts'
export type { Deadlines } from './machine/options.ts'
export type { ExitStatus, PtyOptions, RemoteProcess } from './process.ts'
export type { RunOptions, RunResult } from './run.ts'
export { type ServerConnection, serve } from './server.ts'
export type {
  AuthDecision,
  PasswordDecision,
  PublickeyDecision,
  ServerAuthHandlers,
} from './server-auth.ts'
export type { ChannelHandler, Connector, StreamlocalTarget } from './server-channels.ts'
export type { ForwardHandler } from './server-forwards.ts'
export type { ServerOptions } from './server-options.ts'
export type {
  ExitResult,
  Pty,
  ServerSession,
  SessionHandler,
  WindowSize,
} from './server-session.ts'
export { SOFTWARE_VERSION } from './software-version.ts'
export { splice } from './splice.ts'
export * from './terminal-modes.ts'
export type { RekeyLimits } from './transport/key-exchange.ts'
export type { WaitOptions } from './wait.ts'
export * from './wire/fields.ts'
export * from './wire/message.ts'
export * from './wire/numbers.ts'
export * from './wire/reader.ts'
export * from './wire/writer.ts'
