// Limits for what may wait for ever.
export { rejection, within } from '../../../scripts/within.ts'
