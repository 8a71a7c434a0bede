// Kuzzle's own SDK, unchanged: npm install kuzzle-sdk ws
//
//     node docs/examples/sdk.cjs 7512

const { Kuzzle, WebSocket } = require('kuzzle-sdk')

const kuzzle = new Kuzzle(new WebSocket('127.0.0.1', { port: Number(process.argv[2] ?? 7512) }))
kuzzle.on('disconnected', () => console.log('disconnected'))
kuzzle.on('reconnected', () => console.log('reconnected'))

async function main() {
  await kuzzle.connect()
  await kuzzle.realtime.subscribe('harbor', 'boats', { equals: { kind: 'sail' } }, ({ node, result }) => {
    console.log(node, result._source)
  })
  console.log('subscribed')
}

main()
