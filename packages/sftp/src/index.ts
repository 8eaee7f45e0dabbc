/** SFTP version 3 with OpenSSH's extensions: client, server, and the seam to the files. */
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
export { asSftpError, errnoError, SftpError, STATUS, statusText } from './status.ts'
