/** Sends all uploads, in a process of its own: what the sign-ins wait for is then the server, not their sender. */
import { uploadAll } from './traffic.mjs'

const uploading = uploadAll(process.env.UPLOAD_URL)
console.log('sending')
console.log(JSON.stringify(await uploading))
