// Also on: chromium
import { test } from 'uvu'
import { nobleCrypto } from '../../src/crypto/noble.ts'
import { cryptoProviderSuite } from '../suites/crypto-provider.ts'

cryptoProviderSuite(nobleCrypto)

test.run()
