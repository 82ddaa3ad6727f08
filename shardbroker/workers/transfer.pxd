"""What travels with a connection that moves to another worker."""

from shardbroker.workers.client cimport Client

cdef dict saved_state(Client *client)
cdef int restore_state(Client *client, dict state) except -1
