// Runs commands in a sandbox: one with input, one that fails, one whose output is used as it comes.
//
// Prints:
//   apple pear
//   exit status 3
//   line 1
//   line 2
//   line 3

import { sandbox } from '@sandbox-ssh/sandbox-bridge'

const client = await sandbox('local:example').ssh().openClient()

const sorted = await client.exec('sort | xargs', { stdin: 'pear\napple\n' })
process.stdout.write(sorted.stdout)

const failed = await client.exec('exit 3')
console.log(`exit status ${failed.status}`)

// `connection` is the SSH client underneath, for what streams.
const counting = await client.connection.exec('for i in 1 2 3; do echo line $i; done')
for await (const chunk of counting.stdout) process.stdout.write(chunk)

await client.close()
