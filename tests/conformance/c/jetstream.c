/* JetStream as a user of the C client has it: publishing, pull and push consumers, a key-value bucket.
 * Each step checks one promise, the first that fails ends the program with its name. Called by
 * test_c_client.py with the URL of a server. */

#include "promises.h"

#define COUNT 200

static void make_stream(jsCtx *js)
{
    jsStreamConfig config;
    jsStreamInfo *info = NULL;
    const char *subjects[1] = {"cjs.>"};
    char text[32];

    check(jsStreamConfig_Init(&config), "stream configuration");
    config.Name = "CJS";
    config.Subjects = subjects;
    config.SubjectsLen = 1;
    check(js_AddStream(&info, js, &config, NULL, NULL), "add stream");
    jsStreamInfo_Destroy(info);
    for (int number = 0; number < COUNT; number++) {
        jsPubAck *ack = NULL;

        snprintf(text, sizeof(text), "%d", number);
        check(js_Publish(&ack, js, "cjs.jobs", text, (int)strlen(text), NULL, NULL), "publish");
        expect(ack->Sequence == (uint64_t)number + 1, "sequence of a PubAck");
        jsPubAck_Destroy(ack);
    }
    puts("ok publish");
}

static void pull(jsCtx *js)
{
    natsSubscription *subscription = NULL;
    natsMsgList list;
    jsConsumerInfo *info = NULL;
    int seen = 0;

    check(js_PullSubscribe(&subscription, js, "cjs.jobs", "puller", NULL, NULL, NULL), "pull subscribe");
    while (seen < COUNT) {
        check(natsSubscription_Fetch(&list, subscription, 30, WAIT_MS, NULL), "fetch");
        for (int place = 0; place < list.Count; place++, seen++) {
            expect(atoi(natsMsg_GetData(list.Msgs[place])) == seen, "order of fetched messages");
            if (place == list.Count - 1)
                check(natsMsg_AckSync(list.Msgs[place], NULL, NULL), "confirmed acknowledgement");
            else
                check(natsMsg_Ack(list.Msgs[place], NULL), "acknowledgement");
        }
        natsMsgList_Destroy(&list);
    }
    expect(natsSubscription_Fetch(&list, subscription, 1, 300, NULL) == NATS_TIMEOUT, "nothing is left");
    check(js_GetConsumerInfo(&info, js, "CJS", "puller", NULL, NULL), "consumer info");
    expect(info->NumAckPending == 0 && info->NumPending == 0, "everything is acknowledged");
    expect(info->AckFloor.Stream == COUNT, "floor of acknowledgements");
    jsConsumerInfo_Destroy(info);
    natsSubscription_Destroy(subscription);
    puts("ok pull");
}

static void push(jsCtx *js)
{
    natsSubscription *subscription = NULL;
    natsMsg *message = NULL;
    jsMsgMetaData *meta = NULL;
    jsSubOptions options;

    check(jsSubOptions_Init(&options), "subscribe options");
    options.Config.Durable = "pusher";
    options.ManualAck = true;
    check(js_SubscribeSync(&subscription, js, "cjs.jobs", NULL, &options, NULL), "push subscribe");
    for (int number = 0; number < COUNT; number++) {
        check(natsSubscription_NextMsg(&message, subscription, WAIT_MS), "pushed message");
        expect(atoi(natsMsg_GetData(message)) == number, "order of pushed messages");
        check(natsMsg_Ack(message, NULL), "acknowledgement of a pushed message");
        natsMsg_Destroy(message);
    }
    natsSubscription_Unsubscribe(subscription);
    natsSubscription_Destroy(subscription);

    check(jsSubOptions_Init(&options), "subscribe options");
    options.Ordered = true;
    check(js_SubscribeSync(&subscription, js, "cjs.jobs", NULL, &options, NULL), "ordered subscribe");
    for (int number = 0; number < COUNT; number++) {
        check(natsSubscription_NextMsg(&message, subscription, WAIT_MS), "message of an ordered consumer");
        check(natsMsg_GetMetaData(&meta, message), "metadata");
        expect(meta->Sequence.Consumer == (uint64_t)number + 1, "consumer sequence");
        expect(meta->NumPending == (uint64_t)(COUNT - 1 - number), "messages to come");
        jsMsgMetaData_Destroy(meta);
        natsMsg_Destroy(message);
    }
    natsSubscription_Destroy(subscription);
    puts("ok push");
}

static void key_value(jsCtx *js)
{
    kvStore *bucket = NULL;
    kvConfig config;
    kvEntry *entry = NULL;
    kvWatcher *watcher = NULL;
    kvEntryList history;
    uint64_t revision = 0;

    kvConfig_Init(&config);
    config.Bucket = "CKV";
    config.History = 3;
    check(js_CreateKeyValue(&bucket, js, &config), "create bucket");
    check(kvStore_WatchAll(&watcher, bucket, NULL), "watch");
    check(kvWatcher_Next(&entry, watcher, WAIT_MS), "end of the watcher's past");
    expect(entry == NULL, "nothing is in the bucket");
    check(kvStore_CreateString(&revision, bucket, "a", "1"), "create key");
    check(kvStore_UpdateString(&revision, bucket, "a", "2", revision), "update");
    expect(kvStore_UpdateString(NULL, bucket, "a", "3", 1) != NATS_OK, "an old revision");
    check(kvStore_Get(&entry, bucket, "a"), "get");
    expect(strcmp(kvEntry_ValueString(entry), "2") == 0, "value");
    kvEntry_Destroy(entry);
    check(kvStore_History(&history, bucket, "a", NULL), "history");
    expect(history.Count == 2, "length of the history");
    kvEntryList_Destroy(&history);
    check(kvStore_Purge(bucket, "a", NULL), "purge");
    for (int number = 0; number < 3; number++) {
        check(kvWatcher_Next(&entry, watcher, WAIT_MS), "watched entry");
        expect(kvEntry_Operation(entry) == (number < 2 ? kvOp_Put : kvOp_Purge), "operation");
        kvEntry_Destroy(entry);
    }
    kvWatcher_Destroy(watcher);
    expect(kvStore_Get(&entry, bucket, "a") == NATS_NOT_FOUND, "a purged key");
    kvStore_Destroy(bucket);
    check(js_DeleteKeyValue(js, "CKV"), "delete bucket");
    puts("ok key-value");
}

int main(int count, char **arguments)
{
    natsConnection *connection = NULL;
    jsCtx *js = NULL;

    expect(count == 2, "usage: c_jetstream URL");
    check(natsConnection_ConnectTo(&connection, arguments[1]), "connect");
    check(natsConnection_JetStream(&js, connection, NULL), "context");
    make_stream(js);
    pull(js);
    push(js);
    key_value(js);
    check(js_DeleteStream(js, "CJS", NULL, NULL), "delete stream");
    jsCtx_Destroy(js);
    natsConnection_Destroy(connection);
    nats_Close();
    puts("ok all");
    return 0;
}
