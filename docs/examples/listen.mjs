// The same in JavaScript, for a browser's console or Node.js 22 (Node.js 20: node --experimental-websocket).
//
//     node docs/examples/listen.mjs ws://127.0.0.1:7512

const url = globalThis.process?.argv[2] ?? 'ws://127.0.0.1:7512'
const socket = new WebSocket(url)
socket.onopen = () => socket.send(JSON.stringify({
  controller: 'realtime', action: 'subscribe',
  index: 'harbor', collection: 'boats',
  body: { equals: { kind: 'sail' } },
}))
socket.onmessage = ({ data }) => {
  const message = JSON.parse(data)
  if (message.error) console.log('refused:', message.error.message)
  else if (message.type === 'document') console.log(message.node, message.result._source)
}
socket.onclose = ({ code, reason }) => { console.log('closed:', code, reason); clearInterval(heartbeat) }
const heartbeat = setInterval(() => socket.send('{"p":1}'), 30_000) // a node closes whoever says nothing for a minute
