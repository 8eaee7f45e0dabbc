// Who logs in, in all trials.

/** Their name. */
export const username = 'ada'
/** Their password. */
export const secret = 'correct horse'
