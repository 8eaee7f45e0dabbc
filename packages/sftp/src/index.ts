/** SFTP version 3 with OpenSSH's extensions: client, server, and the seam to the files. */

export type {
  OpenSftpOptions,
  ReadOptions,
  SftpSource,
  WritableOptions,
  WriteOptions,
} from './client.ts'
export { openSftp, SftpClient } from './client.ts'
export { confinedFileSystem } from './confined-file-system.ts'
export type { CopiesResult, CopyClient } from './copies.ts'
export { getFiles, putFiles } from './copies.ts'
export type {
  AttributeChanges,
  DirectoryEntry,
  FileAttributes,
  FileStat,
  FileSystemStat,
  OpenFlags,
  SftpDirectory,
  SftpFile,
  SftpFileSystem,
  UsersAndGroups,
} from './file-system.ts'
export { FILE_TYPE, isDirectory, isFile, isSymlink } from './file-system.ts'
export type { MemoryFileSystemOptions } from './memory-file-system.ts'
export { memoryFileSystem } from './memory-file-system.ts'
export type { NodeFileSystemOptions, NodeFs } from './node-file-system.ts'
export { nodeFileSystem } from './node-file-system.ts'
export {
  baseName,
  decodePath,
  encodePath,
  isEntryName,
  joinPath,
  normalizePath,
  parentPath,
  printablePath,
} from './path.ts'
export type { RemoteEntry, RemoteFile } from './remote-file-system.ts'
export type { ResolveOptions, Walkable } from './resolve.ts'
export { resolvePath } from './resolve.ts'
export type { ScpOptions, ScpReceiveOptions, ScpResult } from './scp.ts'
export { scpReceive, scpSend } from './scp.ts'
export type { ScpClient, ScpCommand } from './scp-command.ts'
export { formatScpCommand, parseScpCommand, scpGet, scpPut, serveScp } from './scp-command.ts'
export type { SftpServerOptions, SftpSession } from './server.ts'
export { requestNames, serveSftp, sftpServer } from './server.ts'
export { asSftpError, errnoError, SftpError, STATUS, statusText } from './status.ts'
export { TransferError } from './transfer.ts'
export type { CopyOptions, CopyProgress, CopyResult } from './tree.ts'
export { copyTree } from './tree.ts'
