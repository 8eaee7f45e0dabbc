// The protocol must stay small enough for a web page, and free of what a browser lacks.

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { browserBudgetKiB, browserSizeKiB } from './browser.ts'

test('a client makes a browser bundle within its budget', async () => {
  const size = await browserSizeKiB()
  assert.ok(size <= browserBudgetKiB, `${size.toFixed(1)} KiB of ${browserBudgetKiB}`)
})

test.run()
