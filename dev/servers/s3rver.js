// Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
// compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

// s3rver with a choice of how it treats the header `If-None-Match: *`, which it ignores without this file:
// node dev/servers/s3rver.js HOST PORT FOLDER BUCKET ignored|unsupported|supported

'use strict';

const S3rver = require('s3rver');
const S3Error = require('s3rver/lib/models/error');

const [address, port, directory, bucket, ifNoneMatch] = process.argv.slice(2);
const server = new S3rver({
  address,
  port: Number(port),
  directory,
  silent: true,
  configureBuckets: [{ name: bucket }],
});

async function checkIfNoneMatch(context, next) {
  if (ifNoneMatch !== 'ignored' && context.get('If-None-Match') === '*') {
    if (ifNoneMatch === 'unsupported') {
      const message = 'A header you provided implies functionality that is not implemented';
      throw new S3Error('NotImplemented', message, { Header: 'If-None-Match' });
    }
    const [, bucketName, key] = /^\/([^/]+)\/(.*)$/.exec(decodeURIComponent(context.path));
    if (await server.store.existsObject(bucketName, key)) {
      const message = 'At least one of the pre-conditions you specified did not hold';
      throw new S3Error('PreconditionFailed', message, { Condition: 'If-None-Match' });
    }
  }
  return next();
}

server.middleware.unshift(checkIfNoneMatch);
server.run();
