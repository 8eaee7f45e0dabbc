/** The version, here so that the single-file program need not find its package.json. */

/** Same as in package.json, which a test sees to. */
export const VERSION = '0.1.0'
