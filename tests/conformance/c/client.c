/* A program as a user of the C client would write it: each step checks one promise, the first that fails ends
 * the program with its name. Called by test_c_client.py with the URL of a server. */

#include "promises.h"

#define LARGE_SIZE (1 << 20)

/* Answers a request with its own payload. */
static void echo(natsConnection *connection, natsSubscription *subscription, natsMsg *message, void *closure)
{
    (void)subscription;
    (void)closure;
    natsConnection_Publish(connection, natsMsg_GetReply(message), natsMsg_GetData(message),
                           natsMsg_GetDataLength(message));
    natsMsg_Destroy(message);
}

static void publish_and_subscribe(natsConnection *publisher, natsConnection *subscriber)
{
    natsSubscription *subscription = NULL;
    natsMsg *message = NULL;
    char text[32];

    check(natsConnection_SubscribeSync(&subscription, subscriber, "c.*.news"), "subscribe");
    check(natsConnection_Flush(subscriber), "flush");
    for (int number = 0; number < 1000; number++) {
        snprintf(text, sizeof(text), "%d", number);
        check(natsConnection_PublishString(publisher, "c.daily.news", text), "publish");
    }
    check(natsConnection_Flush(publisher), "flush of the publisher");
    for (int number = 0; number < 1000; number++) {
        check(natsSubscription_NextMsg(&message, subscription, WAIT_MS), "next message");
        expect(atoi(natsMsg_GetData(message)) == number, "order of messages");
        natsMsg_Destroy(message);
    }
    natsSubscription_Destroy(subscription);
    puts("ok publish and subscribe");
}

static void headers(natsConnection *connection)
{
    natsSubscription *subscription = NULL;
    natsMsg *message = NULL;
    const char *value = NULL;

    check(natsConnection_SubscribeSync(&subscription, connection, "c.headers"), "subscribe");
    check(natsMsg_Create(&message, "c.headers", NULL, "body", 4), "create");
    check(natsMsgHeader_Set(message, "Key", "value"), "set header");
    check(natsConnection_PublishMsg(connection, message), "publish with headers");
    natsMsg_Destroy(message);
    check(natsSubscription_NextMsg(&message, subscription, WAIT_MS), "next message with headers");
    check(natsMsgHeader_Get(message, "Key", &value), "get header");
    expect(strcmp(value, "value") == 0, "header value");
    expect(natsMsg_GetDataLength(message) == 4, "length beside headers");
    natsMsg_Destroy(message);
    natsSubscription_Destroy(subscription);
    puts("ok headers");
}

static void requests(natsConnection *client, natsConnection *server)
{
    natsSubscription *service = NULL;
    natsMsg *reply = NULL;
    char *large = malloc(LARGE_SIZE);

    expect(large != NULL, "memory");
    memset(large, 'x', LARGE_SIZE);
    expect(natsConnection_RequestString(&reply, client, "c.nobody", "?", WAIT_MS) == NATS_NO_RESPONDERS,
           "no responders");
    check(natsConnection_QueueSubscribe(&service, server, "c.echo", "workers", echo, NULL), "queue");
    check(natsConnection_Flush(server), "flush of the service");
    check(natsConnection_RequestString(&reply, client, "c.echo", "hello", WAIT_MS), "request");
    expect(natsMsg_GetDataLength(reply) == 5, "reply");
    natsMsg_Destroy(reply);
    check(natsConnection_Request(&reply, client, "c.echo", large, LARGE_SIZE, WAIT_MS), "large request");
    expect(natsMsg_GetDataLength(reply) == LARGE_SIZE, "length of the large reply");
    expect(memcmp(natsMsg_GetData(reply), large, LARGE_SIZE) == 0, "bytes of the large reply");
    natsMsg_Destroy(reply);
    check(natsSubscription_Drain(service), "drain");
    check(natsSubscription_WaitForDrainCompletion(service, WAIT_MS), "end of drain");
    natsSubscription_Destroy(service);
    free(large);
    puts("ok requests");
}

static void limits(natsConnection *connection)
{
    natsSubscription *subscription = NULL;
    natsMsg *message = NULL;

    expect(natsConnection_GetMaxPayload(connection) == LARGE_SIZE, "max payload of the server");
    check(natsConnection_SubscribeSync(&subscription, connection, "c.limited"), "subscribe");
    check(natsSubscription_AutoUnsubscribe(subscription, 2), "auto unsubscribe");
    for (int number = 0; number < 5; number++)
        check(natsConnection_PublishString(connection, "c.limited", "x"), "publish");
    check(natsConnection_Flush(connection), "flush");
    check(natsSubscription_NextMsg(&message, subscription, WAIT_MS), "first of two");
    natsMsg_Destroy(message);
    check(natsSubscription_NextMsg(&message, subscription, WAIT_MS), "second of two");
    natsMsg_Destroy(message);
    expect(natsSubscription_NextMsg(&message, subscription, 200) == NATS_MAX_DELIVERED_MSGS, "no third");
    natsSubscription_Destroy(subscription);
    puts("ok limits");
}

int main(int count, char **arguments)
{
    natsConnection *first = NULL;
    natsConnection *second = NULL;

    expect(count == 2, "usage: c_client URL");
    check(natsConnection_ConnectTo(&first, arguments[1]), "connect");
    check(natsConnection_ConnectTo(&second, arguments[1]), "connect again");
    publish_and_subscribe(first, second);
    publish_and_subscribe(first, first);
    headers(first);
    requests(first, second);
    limits(second);
    natsConnection_Destroy(first);
    natsConnection_Destroy(second);
    nats_Close();
    puts("ok all");
    return 0;
}
