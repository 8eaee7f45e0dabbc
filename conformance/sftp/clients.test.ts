// Programs of others against our server, each as it is installed and for everything on the list;
// what is not installed is skipped.
// Time limit: 900 s

import { mkdir, rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import * as assert from 'uvu/assert'
import { ask, cannot, fail, installed, type Subject, succeed } from './ask.ts'
import {
  bytePath,
  bytesName,
  checkFew,
  checkMany,
  checkNotRenamed,
  fewOfMany,
  filesOf,
  forbidden,
  mayChangeOwners,
  modified,
  unicode,
} from './scene.ts'

const has = await installed({
  psftp: ['psftp', '-V'],
  curl: ['sh', '-c', "curl --version | grep -q ' sftp '"],
  lftp: ['lftp', '--version'],
  rclone: ['rclone', 'version'],
})

// PuTTY's psftp

function psftpCommand({ server }: Subject): readonly string[] {
  const { port, username, password, hostKey } = server
  const login = ['-batch', '-P', String(port), '-l', username, '-pw', password]
  return ['psftp', ...login, '-hostkey', hostKey.fingerprint(), '-b', 'batch', '127.0.0.1']
}

async function psftp(subject: Subject, ...commands: readonly string[]): Promise<string> {
  await writeBatch(subject, commands)
  return succeed(subject, psftpCommand(subject))
}

/** It seeks in its script, which a pipe does not allow. */
function writeBatch({ near }: Subject, commands: readonly string[]): Promise<void> {
  return writeFile(join(near, 'batch'), `${commands.join('\n')}\n`)
}

ask('psftp', has.psftp, {
  big: (subject) => psftp(subject, 'put big up', 'get up down'),
  tree: (subject) => psftp(subject, 'put -r tree trees/tree', 'get -r trees/tree back/tree'),
  many: async (subject) => checkMany(await psftp(subject, 'ls many')),
  resume: (subject) => psftp(subject, 'reput medium part', 'reget medium part'),
  rename: async (subject) => {
    await writeBatch(subject, ['mv new old'])
    await fail(subject, psftpCommand(subject), /failure/i)
    await checkNotRenamed(subject)
    await psftp(subject, 'rm old', 'mv new old')
  },
  mode: (subject) => psftp(subject, 'chmod 640 file'),
  ...cannot('it has no command for it', 'symlink', 'hardLink', 'owner', 'times', 'room'),
  lines: (subject) => psftp(subject, 'lcd lines', 'mget lines/x*'),
  bytes: (subject) => psftp(subject, 'lcd bytes', 'mget bytes/x*'),
  unicode: (subject) =>
    psftp(subject, `put "${unicode}" "${unicode}"`, `get "${unicode}" "${unicode} back"`),
  empty: (subject) =>
    psftp(subject, 'put empty', 'put sparse', 'get empty empty.back', 'get sparse sparse.back'),
  errors: async (subject) => {
    await writeBatch(subject, ['get missing'])
    await fail(subject, psftpCommand(subject), /no such file/i)
    await writeBatch(subject, [`rm ${forbidden}`])
    await fail(subject, psftpCommand(subject), /permission denied/i)
  },
})

for (const mode of ['-sftp', '-scp']) {
  const pscpCommand = ({ server }: Subject, ...args: readonly string[]): readonly string[] => {
    const { port, username, password, hostKey } = server
    const login = ['-batch', '-q', '-P', String(port), '-l', username, '-pw', password]
    return ['pscp', mode, ...login, '-hostkey', hostKey.fingerprint(), ...args]
  }
  const pscp = (subject: Subject, ...args: readonly string[]): Promise<string> =>
    succeed(subject, pscpCommand(subject, ...args))
  const thereAndBack = async (subject: Subject, name: string, back: string): Promise<void> => {
    // By scp's own protocol a shell reads the name.
    const far = mode === '-scp' ? `'${name}'` : name
    await pscp(subject, '-p', name, `127.0.0.1:${far}`)
    await pscp(subject, '-p', `127.0.0.1:${far}`, back)
  }
  ask(`pscp ${mode}`, has.psftp, {
    big: async (subject) => {
      await pscp(subject, 'big', '127.0.0.1:up')
      await pscp(subject, '127.0.0.1:up', 'down')
    },
    tree: async (subject) => {
      await pscp(subject, '-r', 'tree', '127.0.0.1:trees/')
      await pscp(subject, '-r', '127.0.0.1:trees/tree', 'back')
    },
    many: async (subject) => {
      if (mode === '-sftp') return checkMany(await pscp(subject, '-ls', '127.0.0.1:many/'))
      await mkdir(join(subject.near, 'few'))
      await pscp(subject, '-unsafe', `127.0.0.1:many/${fewOfMany}`, 'few')
      await checkFew(join(subject.near, 'few'))
    },
    times: (subject) => thereAndBack(subject, 'dated', 'again'),
    unicode: (subject) => thereAndBack(subject, unicode, `${unicode} back`),
    empty: async (subject) => {
      for (const name of ['empty', 'sparse']) await thereAndBack(subject, name, `${name}.back`)
    },
    errors: async (subject) => {
      await fail(subject, pscpCommand(subject, '127.0.0.1:missing', 'x'), /no such file/i)
      await fail(subject, pscpCommand(subject, 'empty', '127.0.0.1:/sys/new'), /denied|unable/i)
    },
    ...cannot('it copies whole files', 'resume', 'rename', 'symlink', 'hardLink', 'room'),
    ...cannot('it keeps neither', 'mode', 'owner'),
    ...cannot('it is asked for one name, in words', 'lines', 'bytes'),
  })
}

// curl

function curlCommand({ server }: Subject): readonly string[] {
  const { username, password, hostKey } = server
  const pin = hostKey.fingerprint().replace('SHA256:', '')
  return ['curl', '-sS', '--hostpubsha256', pin, '-u', `${username}:${password}`]
}

function url({ server, far }: Subject, name: string): string {
  return `sftp://127.0.0.1:${server.port}${far}/${encodeURIComponent(name).replaceAll('%2F', '/')}`
}

const curl = (subject: Subject, ...args: readonly string[]): Promise<string> =>
  succeed(subject, [...curlCommand(subject), ...args])

/** Does something besides transferring: here, listing. */
function quoteArgs(subject: Subject, ...commands: readonly string[]): readonly string[] {
  const quoted = commands.flatMap((command) => ['-Q', command])
  return [`${url(subject, 'trees')}/`, '-o', '/dev/null', ...quoted]
}

const quote = (subject: Subject, ...commands: readonly string[]): Promise<string> =>
  curl(subject, ...quoteArgs(subject, ...commands))

/** Many transfers of one run, and so over one connection, as a configuration of curl's. */
async function transfers(subject: Subject, lines: readonly string[]): Promise<void> {
  await writeFile(join(subject.near, 'transfers'), `${lines.join('\n')}\n`)
  await curl(subject, '--create-dirs', '--ftp-create-dirs', '-K', 'transfers')
}

ask('curl', has.curl, {
  tree: async (subject) => {
    const files = await filesOf(join(subject.near, 'tree'))
    const far = (name: string): string => url(subject, `trees/tree/${name}`)
    await transfers(
      subject,
      files.map((name) => `upload-file = "tree/${name}"\nurl = "${far(name)}"`),
    )
    await transfers(
      subject,
      files.map((name) => `url = "${far(name)}"\noutput = "back/tree/${name}"`),
    )
  },
  big: async (subject) => {
    await curl(subject, '-T', 'big', url(subject, 'up'))
    await curl(subject, url(subject, 'up'), '-o', 'down')
  },
  many: async (subject) => checkMany(await curl(subject, '-l', `${url(subject, 'many')}/`)),
  resume: async (subject) => {
    await curl(subject, '-C', '-', '-T', 'medium', url(subject, 'part'))
    await curl(subject, '-C', '-', url(subject, 'medium'), '-o', 'part')
  },
  rename: async (subject) => {
    const rename = `rename ${subject.far}/new ${subject.far}/old`
    const refused = [...curlCommand(subject), ...quoteArgs(subject, rename)]
    await fail(subject, refused, /rename command failed/)
    await checkNotRenamed(subject)
    await quote(subject, `rm ${subject.far}/old`, rename)
  },
  symlink: (subject) => quote(subject, `ln ${subject.far}/file ${subject.far}/soft`),
  hardLink: 'what it calls ln is a symbolic link',
  mode: (subject) => quote(subject, `chmod 640 ${subject.far}/file`),
  owner: mayChangeOwners((subject: Subject) =>
    quote(subject, `chown 12345 ${subject.far}/file`, `chgrp 54321 ${subject.far}/file`),
  ),
  times: async (subject) => {
    await curl(subject, '-T', 'dated', url(subject, 'dated'))
    const date = new Date(modified * 1000).toUTCString().replace(',', '')
    await quote(subject, `mtime "${date}" ${subject.far}/dated`)
    await curl(subject, '-R', url(subject, 'dated'), '-o', 'again')
  },
  lines: (subject) => curl(subject, `${url(subject, 'lines')}/x%0Aline`, '-o', 'lines/x\nline'),
  bytes: async (subject) => {
    await curl(subject, `${url(subject, 'bytes')}/x%FF%C3(`, '-o', 'found')
    await rename(join(subject.near, 'found'), bytePath(join(subject.near, 'bytes'), bytesName))
  },
  room: async (subject) => {
    const command = `statvfs ${subject.far}`
    assert.match(
      await curl(subject, `${url(subject, 'many')}/`, '-D', '-', '-l', '-Q', command),
      /f_bsize: \d/,
    )
  },
  unicode: async (subject) => {
    await curl(subject, '-T', unicode, url(subject, unicode))
    await curl(subject, url(subject, unicode), '-o', `${unicode} back`)
  },
  empty: async (subject) => {
    for (const name of ['empty', 'sparse']) {
      await curl(subject, '-T', name, url(subject, name))
      await curl(subject, url(subject, name), '-o', `${name}.back`)
    }
  },
  errors: async (subject) => {
    const command = curlCommand(subject)
    await fail(
      subject,
      [...command, url(subject, 'missing')],
      /No such file|does not exist|Could not/,
    )
    const remove = [...command, ...quoteArgs(subject, `rm ${forbidden}`)]
    await fail(subject, remove, /Permission denied/i)
  },
})

// lftp

function lftpCommand(
  { server }: Subject,
  commands: readonly string[],
  charset = 'utf-8',
): readonly string[] {
  const ssh = 'ssh -a -x -o UserKnownHostsFile=known_hosts -o StrictHostKeyChecking=yes'
  const script = [
    `set sftp:connect-program '${ssh}'`,
    `set sftp:charset ${charset}; set file:charset ${charset}`,
    'set cmd:fail-exit yes; set net:max-retries 2',
    `open -u ${server.username},'${server.password}' -p ${server.port} sftp://127.0.0.1`,
    ...commands,
  ]
  return ['lftp', '-c', script.join('; ')]
}

const lftp = (subject: Subject, ...commands: readonly string[]): Promise<string> =>
  succeed(subject, lftpCommand(subject, [`cd ${subject.far}`, ...commands]))

ask('lftp', has.lftp, {
  big: (subject) => lftp(subject, 'put big -o up', 'get up -o down'),
  tree: (subject) => lftp(subject, 'mirror -R tree/ trees/tree', 'mirror trees/tree back/tree'),
  many: async (subject) => checkMany(await lftp(subject, 'cls -1 many/')),
  resume: (subject) => lftp(subject, 'put -c medium -o part', 'get -c medium -o part'),
  rename: async (subject) => {
    await fail(subject, lftpCommand(subject, [`cd ${subject.far}`, 'mv new old']), /Failure|exists/)
    await checkNotRenamed(subject)
    await lftp(subject, 'rm old', 'mv new old')
  },
  symlink: (subject) => lftp(subject, 'ln -s file soft'),
  hardLink: 'it makes them by a message of later versions alone',
  ...cannot('it has no command for it', 'owner', 'room'),
  lines: (subject) => lftp(subject, 'mirror lines lines'),
  bytes: async (subject) => {
    // In a charset of single bytes, any bytes are a name.
    const commands = [`cd ${subject.far}`, 'mirror bytes bytes']
    await succeed(subject, lftpCommand(subject, commands, 'iso-8859-1'))
  },
  mode: (subject) => lftp(subject, 'chmod 640 file'),
  times: (subject) => lftp(subject, 'put dated', 'get dated -o again'),
  unicode: (subject) => lftp(subject, `put "${unicode}"`, `get "${unicode}" -o "${unicode} back"`),
  empty: (subject) =>
    lftp(
      subject,
      'put empty',
      'put sparse',
      'get empty -o empty.back',
      'get sparse -o sparse.back',
    ),
  errors: async (subject) => {
    const [missing, remove] = [[`cd ${subject.far}`, 'get missing'], [`rm ${forbidden}`]]
    await fail(subject, lftpCommand(subject, missing), /No such file|not found/i)
    await fail(subject, lftpCommand(subject, remove), /denied|not permitted/i)
  },
})

// rclone

async function rcloneCommand(subject: Subject): Promise<readonly string[]> {
  const { port, username, password } = subject.server
  const obscured = (await succeed(subject, ['rclone', 'obscure', password])).trim()
  const remote = `host=127.0.0.1,port=${port},user=${username},pass=${obscured}`
  const rest = `known_hosts_file=${join(subject.near, 'known_hosts')},shell_type=none`
  const env = ['env', 'RCLONE_CONFIG=/dev/null', 'RCLONE_CONFIG_FAR_TYPE=sftp']
  const settings = `${remote},${rest}`
    .split(',')
    .map((setting) => setting.replace(/^[^=]+/, (key) => `RCLONE_CONFIG_FAR_${key.toUpperCase()}`))
  return [...env, ...settings, 'rclone', '-q', '--retries=1', '--low-level-retries=1']
}

const rclone = async (subject: Subject, ...args: readonly string[]): Promise<string> =>
  succeed(subject, [...(await rcloneCommand(subject)), ...args])

ask('rclone', has.rclone, {
  big: async (subject) => {
    await rclone(subject, 'copyto', 'big', 'far:up')
    await rclone(subject, 'copyto', 'far:up', 'down')
  },
  tree: async (subject) => {
    await rclone(subject, 'copy', 'tree/', 'far:trees/tree')
    await rclone(subject, 'copy', 'far:trees/tree', 'back/tree')
  },
  many: async (subject) => checkMany(await rclone(subject, 'lsf', 'far:many/')),
  resume: 'it copies whole files',
  rename: (subject) => rclone(subject, 'moveto', 'far:new', 'far:old'),
  ...cannot(
    'it knows files and folders, and no more of them',
    'symlink',
    'hardLink',
    'mode',
    'owner',
  ),
  lines: (subject) => rclone(subject, 'copy', 'far:lines', 'lines'),
  bytes: (subject) => rclone(subject, 'copy', 'far:bytes', 'bytes'),
  times: async (subject) => {
    await rclone(subject, 'copyto', 'dated', 'far:dated')
    await rclone(subject, 'copyto', 'far:dated', 'again')
  },
  room: async (subject) => assert.match(await rclone(subject, 'about', 'far:'), /Total: +\d/),
  unicode: async (subject) => {
    await rclone(subject, 'copyto', unicode, `far:${unicode}`)
    await rclone(subject, 'copyto', `far:${unicode}`, `${unicode} back`)
  },
  empty: async (subject) => {
    for (const name of ['empty', 'sparse']) {
      await rclone(subject, 'copyto', name, `far:${name}`)
      await rclone(subject, 'copyto', `far:${name}`, `${name}.back`)
    }
  },
  errors: async (subject) => {
    const command = await rcloneCommand(subject)
    await fail(subject, [...command, 'copyto', 'far:missing', 'x'], /not found/)
    await fail(subject, [...command, 'mkdir', 'far:/sys/new'], /denied|Read-only/i)
  },
})
