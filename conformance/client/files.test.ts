// Our SFTP client against servers.
// Time limit: 180 s

import { openSftp, type SftpClient, SftpError } from '@sandbox-ssh/sftp'
import * as assert from 'uvu/assert'
import { bytes, sha256 } from '../data.ts'
import { againstServers, type Case } from '../matrix.ts'
import { connectTo } from '../peers/connect.ts'

const MiB = 1 << 20

/** A case with an SFTP session and a fresh folder on the server. */
function inFolder(
  name: string,
  body: (
    sftp: SftpClient,
    folder: string,
    run: (command: string) => Promise<string>,
  ) => Promise<void>,
): Case {
  return {
    name,
    run: async ({ server }) => {
      const client = await connectTo(server)
      try {
        const run = async (command: string): Promise<string> => (await client.run(command)).text()
        const sftp = await openSftp(client)
        await body(sftp, (await run('mktemp -d')).trim(), run)
        await sftp.close()
      } finally {
        await client.close()
      }
    },
  }
}

againstServers('Our client: files', [
  inFolder('30 MiB are written and read back', async (sftp, folder, run) => {
    const data = bytes(30 * MiB + 5)
    await sftp.write(`${folder}/large`, data)
    assert.is((await run(`sha256sum < ${folder}/large`)).split(' ')[0], sha256(data))
    assert.is(sha256(await sftp.read(`${folder}/large`)), sha256(data))
  }),
  inFolder('streams carry the same', async (sftp, folder) => {
    const data = bytes(3 * MiB + 1)
    const writable = await sftp.writable(`${folder}/streamed`)
    await new Blob([Uint8Array.from(data)]).stream().pipeTo(writable)
    const readable = await sftp.readable(`${folder}/streamed`)
    const back = new Uint8Array(await new Response(readable).arrayBuffer())
    assert.is(sha256(back), sha256(data))
  }),
  inFolder('names, kinds, sizes, modes and times are told', async (sftp, folder, run) => {
    await run(
      `cd ${folder} && printf 12345 > f && chmod 640 f && touch -d @1500000000 f && mkdir d && ln -s f l`,
    )
    const entries = await sftp.list(folder)
    assert.equal(entries.map(({ name }) => name).sort(), ['d', 'f', 'l'])
    const file = await sftp.stat(`${folder}/f`)
    assert.is(file.size, 5)
    assert.is((file.mode ?? 0) & 0o7777, 0o640)
    assert.is(file.mtime, 1_500_000_000)
    assert.is(await sftp.readlink(`${folder}/l`), 'f')
    assert.is(await sftp.realpath(`${folder}/d/..`), folder)
  }),
  inFolder('files are renamed, linked and removed', async (sftp, folder, run) => {
    await sftp.write(`${folder}/a`, 'a')
    await sftp.rename(`${folder}/a`, `${folder}/b`)
    await sftp.symlink('b', `${folder}/l`)
    assert.is(await run(`cd ${folder} && readlink l && cat l`), 'b\na')
    await sftp.removeAll(folder)
    assert.is(await run(`test -e ${folder} || echo gone`), 'gone\n')
  }),
  inFolder('500 requests in flight come back right', async (sftp, folder) => {
    const names = Array.from({ length: 500 }, (_, index) => `${folder}/${index}`)
    await Promise.all(names.map((name, index) => sftp.write(name, `file ${index}`)))
    const texts = await Promise.all(names.map((name) => sftp.readText(name)))
    assert.equal(
      texts,
      names.map((_, index) => `file ${index}`),
    )
  }),
  inFolder('a failure names itself and leaves the session working', async (sftp, folder) => {
    try {
      await sftp.read(`${folder}/none`)
      assert.unreachable('it was read')
    } catch (error) {
      assert.instance(error, SftpError)
    }
    assert.equal(await sftp.list(folder), [])
  }),
])
