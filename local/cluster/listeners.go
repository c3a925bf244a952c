package main

import (
	"errors"
	"net"
	"sync"
)

// joinedListener accepts from several sockets as if they were one.
type joinedListener struct {
	net.Listener // the first, whose address is the address of all
	others       []net.Listener
	accepted     chan accepted
	closing      sync.Once
	closed       chan struct{}
}

type accepted struct {
	conn net.Conn
	err  error
}

// joinListeners returns a listener for all of the given ones, of which there is at least one.
func joinListeners(listeners []net.Listener) net.Listener {
	if len(listeners) == 1 {
		return listeners[0]
	}
	joined := &joinedListener{
		Listener: listeners[0],
		others:   listeners[1:],
		accepted: make(chan accepted),
		closed:   make(chan struct{}),
	}
	for _, listener := range listeners {
		go joined.accept(listener)
	}
	return joined
}

func (l *joinedListener) accept(listener net.Listener) {
	for {
		conn, err := listener.Accept()
		select {
		case l.accepted <- accepted{conn, err}:
		case <-l.closed:
			if conn != nil {
				_ = conn.Close()
			}
			return
		}
	}
}

func (l *joinedListener) Accept() (net.Conn, error) {
	select {
	case next := <-l.accepted:
		return next.conn, next.err
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *joinedListener) Close() error {
	var err error
	l.closing.Do(func() {
		close(l.closed)
		err = l.Listener.Close()
		for _, other := range l.others {
			err = errors.Join(err, other.Close())
		}
	})
	return err
}
