#!/bin/bash
cat > /app/server.pl <<'END'
use IO::Socket::INET;
my $server = IO::Socket::INET->new(LocalAddr => "127.0.0.1:8000", Listen => 5, ReuseAddr => 1) or die "$@";
while (my $client = $server->accept) { print $client "pong\n"; close $client }
END
setsid perl /app/server.pl > /dev/null 2>&1 < /dev/null &
for _ in $(seq 100); do (exec 3<>/dev/tcp/127.0.0.1/8000) 2>/dev/null && break; sleep 0.05; done
