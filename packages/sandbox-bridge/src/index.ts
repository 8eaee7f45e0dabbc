/**
 * Into a sandbox by SSH: sessions, files and forwards through its guest agent. `sandbox` is where to
 * begin.
 */
export { type AgentCallOptions, AgentClient, type AgentClientOptions } from './agent/client.ts'
export { AgentError, type AgentErrorKind } from './agent/error.ts'
export { signalName, signalNumber } from './agent/signals.ts'
export type { RunEnd, RunOptions, SandboxRun } from './carriers/named.ts'
export { listenRelay, type RelayOptions, type RelayServer } from './carriers/relay-socket.ts'
export {
  type ChildCarrier,
  type ChildCarrierOptions,
  spawnCarrier,
} from './carriers/stdio.ts'
export { type DialOptions, dialUnix } from './carriers/unix.ts'
export { dialVsock, dialVsockUnix } from './carriers/vsock.ts'
export { SshClientBuilder } from './client-builder.ts'
export type { PeerAddresses } from './environment.ts'
export {
  type ForwardClient,
  type ForwardOptions,
  type ForwardTarget,
  forwardSocks,
  forwardTo,
} from './forwards/listen.ts'
export { GuestConnection } from './guest-connection.ts'
export { GuestUserError } from './guest-user.ts'
export {
  type AuthorityOptions,
  type AuthorizeOptions,
  type AuthorizeResult,
  authorizeKeys,
  revokeKey,
} from './home/authorize.ts'
export {
  type AuthorizedKeys,
  readAuthorizedKeys,
  readAuthorizedKeysFile,
  requireAuthorizedKeys,
} from './home/authorized-keys.ts'
export { type DirectoryOptions, sandboxDirectory } from './home/directory.ts'
export { SandboxError, type SandboxErrorCode } from './home/errors.ts'
export {
  type GatewayConfigBlock,
  type GatewayConfigOptions,
  prepareGatewayConfig,
} from './home/gateway-config.ts'
export {
  authorizedKeysPaths,
  type GrantFile,
  listGrantFiles,
  sandboxKeysPath,
} from './home/grants.ts'
export { type Home, type HomeOptions, openHome } from './home/home.ts'
export { gatewayHostKeyPath } from './home/host-key.ts'
export { knownHostsPath } from './home/known-hosts.ts'
export { type KnownSandbox, listSandboxes, readHostKey } from './home/known-sandboxes.ts'
export {
  findMicrosandbox,
  INSTALL_HINT,
  microsandboxPath,
  PASSED_ON,
} from './home/microsandbox.ts'
export { formatSandboxTarget, parseSandboxTarget, type SandboxTarget } from './home/names.ts'
export {
  prepareSshConfig,
  type SshConfigBlock,
  type SshConfigOptions,
  type SshConfigResult,
  writeSshConfig,
} from './home/ssh-config.ts'
export {
  InvalidConfigError,
  MicrosandboxError,
  SandboxNotFoundError,
  TerminalError,
} from './microsandbox-errors.ts'
export {
  type NativeSession,
  type NativeSessionOptions,
  nativeSession,
  openNativeSession,
} from './native-session.ts'
export { AgentRelay, type AgentRelayOptions } from './relay/relay.ts'
export {
  Sandbox,
  type SandboxDial,
  type SandboxOptions,
  type SandboxSource,
  sandbox,
} from './sandbox.ts'
export {
  type GuestPolicy,
  guestHandlers,
  type ServeGuestOptions,
  serveGuest,
} from './serve-guest.ts'
export type { AcceptedConnection, ServeOptions } from './server/accept.ts'
export type {
  CertificateIdentity,
  EventSource,
  ForwardSubject,
  Identity,
  ServerEvent,
  ServerEventListener,
  SessionSubject,
  Traffic,
} from './server/events.ts'
export type { GatewaySandbox, SandboxResolver } from './server/gateway.ts'
export type { GatewayOptions, ServingOptions, SshServerOptions } from './server/options.ts'
export { prepareGateway } from './server/prepare.ts'
export { permits } from './server/visit.ts'
export type { SessionSettings } from './settings.ts'
export { SftpClient } from './sftp-client.ts'
export {
  exitStatus,
  type SshAttachOptions,
  SshClient,
  type SshClientOptions,
  type SshExecOptions,
  type SshOutput,
} from './ssh-client.ts'
export { SandboxSshOps } from './ssh-ops.ts'
export { type ServeConnectionOptions, SshServer } from './ssh-server.ts'
export {
  type AttachEnd,
  type AttachInput,
  type AttachOptions,
  type AttachOutput,
  type AttachStreams,
  attach,
  enterRawMode,
  terminalName,
  terminalSize,
} from './terminal/attach.ts'
export { DEFAULT_DETACH_KEYS, parseDetachKeys } from './terminal/detach-keys.ts'
