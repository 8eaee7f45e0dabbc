// A client as a bundle for browsers, to see that it can be one and what it weighs.

import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import * as esbuild from 'esbuild'
import { root, sourceCondition } from './bundle.mjs'

/** What a page with a terminal uses. */
const client = `export { connect, parsePrivateKey, password, pinned, publickey, webSocket }
  from '@sandbox-ssh/protocol'`

/** What that may weigh with all modern algorithms, minified and compressed. */
export const browserBudgetKiB = 100

/** The size now, in KiB. Rejects if anything in it is not for browsers. */
export async function browserSizeKiB(): Promise<number> {
  const result = await esbuild.build({
    stdin: { contents: client, resolveDir: join(root, 'packages/protocol') },
    absWorkingDir: root,
    bundle: true,
    write: false,
    minify: true,
    platform: 'browser',
    format: 'esm',
    target: 'es2022',
    conditions: [sourceCondition],
    logLevel: 'silent',
  })
  const [output] = result.outputFiles
  if (output === undefined) throw new Error('the protocol gave no browser bundle')
  return gzipSync(output.contents).length / 1024
}
