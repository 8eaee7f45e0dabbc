// Copies files into a sandbox and out of it over SFTP.
//
// Prints:
//   report.csv 24 bytes
//   total 42

import { sandbox } from '@sandbox-ssh/sandbox-bridge'

const client = await sandbox('local:example').ssh().openClient()
const sftp = await client.sftp()

await sftp.mkdirs('work')
await sftp.write('work/report.csv', 'name,count\nfig,2\npear,40')
for (const { name, attributes } of await sftp.list('work')) {
  console.log(`${name} ${attributes.size} bytes`)
}

await client.exec(`cd work && awk -F, 'NR > 1 { n += $2 } END { print "total", n }' *.csv > sum`)
process.stdout.write(await sftp.readText('work/sum'))

await sftp.removeAll('work')
await sftp.close()
await client.close()
