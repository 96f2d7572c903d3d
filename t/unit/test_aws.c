
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include "shim.h"

#include "ngx_gcs_aws.h"
#include "ngx_gcs_crypto.h"


#define TEST_STS                                                              \
    "https://sts.{region}.amazonaws.com?Action=GetCallerIdentity"             \
    "&Version=2011-06-15"
#define TEST_AUDIENCE                                                         \
    "//iam.googleapis.com/projects/123456789012/locations/global/"            \
    "workloadIdentityPools/my-pool/providers/my-aws"

/* the answer to keys of which each is text, in the form of the service */
#define TEST_KEYS                                                             \
    "\"AccessKeyId\":\"AKIAFAKE\",\"SecretAccessKey\":\"fakeSecret\""

#define TEST_ASSUMED(keys)                                                    \
    "<AssumeRoleWithWebIdentityResponse xmlns=\"https://sts.amazonaws.com/"   \
    "doc/2011-06-15/\">\n  <AssumeRoleWithWebIdentityResult>\n"               \
    "    <Audience>sts.amazonaws.com</Audience>\n    <Credentials>\n" keys    \
    "    </Credentials>\n  </AssumeRoleWithWebIdentityResult>\n"              \
    "  <ResponseMetadata><RequestId>1</RequestId></ResponseMetadata>\n"       \
    "</AssumeRoleWithWebIdentityResponse>\n"
#define TEST_ID      "<AccessKeyId>ASIAFAKE</AccessKeyId>"
#define TEST_SECRET  "<SecretAccessKey>fake/Secret+</SecretAccessKey>"
#define TEST_TOKEN   "<SessionToken>FAKE//TOKEN==</SessionToken>"
#define TEST_ALL     TEST_ID TEST_SECRET TEST_TOKEN

#define TEST_ERROR(code)                                                      \
    "<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">"     \
    "<Error><Type>Sender</Type><Code>" code "</Code><Message>FAKETOKEN"       \
    "</Message></Error><RequestId>1</RequestId></ErrorResponse>"


typedef struct {
    const char  *text;
    const char  *want;         /* NULL: refused */
} test_pair_t;


typedef struct {
    const char  *url;
    const char  *host;         /* NULL: refused */
    const char  *service;
    const char  *path;
    const char  *query;
} test_url_t;


typedef ngx_int_t (*test_parse_pt)(ngx_pool_t *pool, ngx_str_t *text,
    ngx_gcs_aws_keys_t *keys, char **err);


static void test_worked_example(void);
static void test_tokens_refused(void);
static void test_urls(void);
static void test_regions(void);
static void test_containers(void);
static void test_answers(test_parse_pt parse, test_pair_t *t);
static void test_wiped(void);
static void test_assume_role(void);
static void test_no_memory(void);
static ngx_gcs_aws_keys_t test_keys(ngx_pool_t *pool);
static ngx_uint_t test_zeros(ngx_str_t *text);


static test_url_t  urls[] = {
    { "https://sts.{region}.amazonaws.com?Action=A&Version=1",
      "sts.us-east-2.amazonaws.com", "sts", "/", "Action=A&Version=1" },
    { "https://sts.amazonaws.com/?b=2&a=1&a=0&a", "sts.amazonaws.com", "sts",
      "/", "a=&a=0&a=1&b=2" },
    { "https://sts.amazonaws.com", "sts.amazonaws.com", "sts", "/", "" },
    { "https://sts.amazonaws.com?", "sts.amazonaws.com", "sts", "/", "" },
    { "https://sts.amazonaws.com?&", "sts.amazonaws.com", "sts", "/",
      "=&=" },
    { "https://sts.amazonaws.com?a==/?", "sts.amazonaws.com", "sts", "/",
      "a==/?" },
    { "HTTPS://STS-fips.{region}.AmazonAWS.com:443/", "sts-fips.us-east-2."
      "amazonaws.com", "sts", "/", "" },
    { "https://sts.x:0443", "sts.x", "sts", "/", "" },
    { "https://sts.x:08443/", "sts.x:8443", "sts", "/", "" },
    { "https://-fips.x", "-fips.x", "-fips", "/", "" },
    { "https://localhost/{region}", "localhost", "localhost", "/us-east-2",
      "" },
    { "https://s.x/a/b/", "s.x", "s", "/a/b/", "" },
    { "https://s.x/a//b/./c/../d", "s.x", "s", "/a/b/d", "" },
    { "https://s.x/a/..", "s.x", "s", "/", "" },
    { "https://s.x/a/../", "s.x", "s", "/", "" },
    { "https://s.x/../../a/b/..", "s.x", "s", "/a", "" },
    { "https://s.x/..a/.b/...", "s.x", "s", "/..a/.b/...", "" },
    { "https://s.x/a%20b(c)~", "s.x", "s", "/a%2520b%28c%29~", "" },

    { "", NULL, NULL, NULL, NULL },
    { "https://", NULL, NULL, NULL, NULL },
    { "https:///a", NULL, NULL, NULL, NULL },
    { "http://sts.amazonaws.com", NULL, NULL, NULL, NULL },
    { "sts.amazonaws.com", NULL, NULL, NULL, NULL },
    { "https://.amazonaws.com", NULL, NULL, NULL, NULL },
    { "https://user@sts.amazonaws.com", NULL, NULL, NULL, NULL },
    { "https://user:1@sts.amazonaws.com", NULL, NULL, NULL, NULL },
    { "https://[::1]/", NULL, NULL, NULL, NULL },
    { "https://sts.x:0/", NULL, NULL, NULL, NULL },
    { "https://sts.x:65536/", NULL, NULL, NULL, NULL },
    { "https://sts.x:/", NULL, NULL, NULL, NULL },
    { "https://sts.x:1x/", NULL, NULL, NULL, NULL },
    { "https://sts.x/#a", NULL, NULL, NULL, NULL },
    { "https://sts.{Region}.x/", NULL, NULL, NULL, NULL },
    { "https://sts.x/{region", NULL, NULL, NULL, NULL },
    { "https://sts.x/}", NULL, NULL, NULL, NULL },
    { "https://sts.x/a b", NULL, NULL, NULL, NULL },
    { "https://sts.x/\n", NULL, NULL, NULL, NULL },
    { "https://sts.x/\"", NULL, NULL, NULL, NULL },
    { "https://sts.x\\/", NULL, NULL, NULL, NULL },
    { "https://sts.\xc3\xa9/", NULL, NULL, NULL, NULL },
    { NULL, NULL, NULL, NULL, NULL }
};


static test_pair_t  regions[] = {
    { "us-east-2b", "us-east-2" },
    { "us-east-2", "us-east-2" },
    { "eu-central-1a", "eu-central-1" },
    { "us-gov-west-1a", "us-gov-west-1" },
    { "us-isob-east-1a", "us-isob-east-1" },
    { "ap-southeast-12c", "ap-southeast-12" },
    { "us-west-2-lax-1a", "us-west-2" },
    { "us-east-1-dfw-2a", "us-east-1" },
    { "us-east-1-wl1-bos-wlz-1", "us-east-1" },
    { "", NULL },
    { "us", NULL },
    { "us-", NULL },
    { "us-east", NULL },
    { "us-east-", NULL },
    { "us-east-a", NULL },
    { "us-1a", NULL },
    { "1a", NULL },
    { "us--1a", NULL },
    { "-us-east-1a", NULL },
    { "us-east-1ab", NULL },
    { "us-east-1a-", NULL },
    { "us-east-1a1", NULL },
    { "us-east-1-", NULL },
    { "us-east-1-2", NULL },
    { "us-east-1-lax-", NULL },
    { "us-east-1--lax", NULL },
    { "US-EAST-1a", NULL },
    { "us-east-1a\n", NULL },
    { "us-east-1/x", NULL },
    { "us_east_1a", NULL },
    { "<html>not found</html>", NULL },
    { NULL, NULL }
};


static test_pair_t  containers[] = {
    { "https://credentials.example.com/a", "" },
    { "HTTP://LOCALHOST:8080/a?b", "" },
    { "http://127.0.0.1:51679/a", "" },
    { "http://127.255.0.9", "" },
    { "http://[::1]:80/a", "" },
    { "http://169.254.170.2", "" },
    { "http://169.254.170.2/v2/credentials/1", "" },
    { "http://169.254.170.2?a", "" },
    { "http://169.254.170.23/v1/credentials", "" },
    { "http://169.254.170.23:80/v1/credentials", "" },
    { "http://[FD00:ec2::23]/v1/credentials", "" },
    { "", NULL },
    { "http:", NULL },
    { "http://", NULL },
    { "ftp://169.254.170.2", NULL },
    { "http://example.com", NULL },
    { "http://169.254.169.254/", NULL },
    { "http://169.254.170.22", NULL },
    { "http://169.254.170.230", NULL },
    { "http://169.254.170.2.example.com", NULL },
    { "http://169.254.170.2@example.com", NULL },
    { "http://169.254.170.2:80@example.com", NULL },
    { "http://169.254.170.2:0/", NULL },
    { "http://169.254.170.2:65536/", NULL },
    { "http://169.254.170.2:/", NULL },
    { "http://169.254.170.2\\@example.com", NULL },
    { "http://169.254.170.2/a b", NULL },
    { "http://169.254.170.2/\r\nHost: a", NULL },
    { "http://169.254.170.2/#a", NULL },
    { "http://169.254.170.2/\x7f", NULL },
    { "http://[fd00:ec2::23", NULL },
    { "http://[fd00:ec2::24]/", NULL },
    { "http://[fd00:ec2::23]x/", NULL },
    { "http://localhost.example.com/", NULL },
    { "http://127.1/", NULL },
    { NULL, NULL }
};


/* want: the three keys, or a part of the error behind "!" */

static test_pair_t  answers[] = {
    { "{\"Code\":\"Success\",\"Type\":\"AWS-HMAC\"," TEST_KEYS
      ",\"Token\":\"TOKEN==\",\"Expiration\":\"2026-01-02T03:04:05Z\"}",
      "AKIAFAKE fakeSecret TOKEN==" },
    { "{\"RoleArn\":\"arn\"," TEST_KEYS ",\"Token\":\"TOKEN==\"}",
      "AKIAFAKE fakeSecret TOKEN==" },
    { "{" TEST_KEYS "}", "AKIAFAKE fakeSecret " },
    { "{" TEST_KEYS ",\"Token\":null}", "AKIAFAKE fakeSecret " },
    { "{" TEST_KEYS ",\"Token\":\"\"}", "AKIAFAKE fakeSecret " },
    { "{" TEST_KEYS ",\"n\":" "99999999999999999999999}",
      "AKIAFAKE fakeSecret " },

    { "", "!empty" },
    { "null", "!not a JSON object" },
    { "[]", "!not a JSON object" },
    { "{", "!not a JSON object" },
    { "<html/>", "!not a JSON object" },
    { "{" TEST_KEYS "," TEST_KEYS "}", "!not a JSON object" },
    { "{\"Code\":\"Failed\"," TEST_KEYS "}", "!\"Success\"" },
    { "{\"code\":\"InternalServerError\",\"message\":\"x\"}",
      "!\"Success\"" },
    { "{\"Code\":\"AssumeRoleUnauthorizedAccess\"}",
      "!AssumeRoleUnauthorizedAccess" },
    { "{\"Code\":1," TEST_KEYS "}", "!not a string" },
    { "{}", "!no \"AccessKeyId\"" },
    { "{\"AccessKeyId\":\"\"}", "!no \"AccessKeyId\"" },
    { "{\"AccessKeyId\":1}", "!no \"AccessKeyId\"" },
    { "{\"AccessKeyId\":\"AKIAFAKE\"}", "!no \"SecretAccessKey\"" },
    { "{" TEST_KEYS ",\"Token\":1}", "!\"Token\"" },
    { "{" TEST_KEYS ",\"Token\":\"a\\nb\"}", "!invalid character" },
    { "{" TEST_KEYS ",\"Token\":\"a\\\"b\"}", "!invalid character" },
    { "{" TEST_KEYS ",\"Token\":\"\xc3\xa9\"}", "!invalid character" },
    { "{\"AccessKeyId\":\"A/B\",\"SecretAccessKey\":\"s\"}",
      "!invalid character" },
    { "{\"AccessKeyId\":\"AKIAFAKE\",\"SecretAccessKey\":\"s \"}",
      "!invalid character" },
    { NULL, NULL }
};


static test_pair_t  assumed[] = {
    { TEST_ASSUMED(TEST_ALL), "ASIAFAKE fake/Secret+ FAKE//TOKEN==" },
    { "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n" TEST_ASSUMED(TEST_ALL),
      "ASIAFAKE fake/Secret+ FAKE//TOKEN==" },
    { TEST_ASSUMED("<AccessKeyId >\n ASIAFAKE\t</AccessKeyId\n>" TEST_SECRET
                   "<x a = 'b>' c=\"\"/><y/>" TEST_TOKEN),
      "ASIAFAKE fake/Secret+ FAKE//TOKEN==" },
    { TEST_ASSUMED(TEST_ID "<SecretAccessKey>&amp;&lt;&gt;&apos;&#47;&#x2B;"
                   "&#x2f;</SecretAccessKey>" TEST_TOKEN),
      "ASIAFAKE &<>'/+/ FAKE//TOKEN==" },

    { "", "!empty" },
    { " ", "!not valid XML" },
    { "text", "!not valid XML" },
    { "<", "!not valid XML" },
    { "</a>", "!not valid XML" },
    { "<a", "!not valid XML" },
    { "<a ", "!not valid XML" },
    { "<a>", "!not valid XML" },
    { "<a></b>", "!not valid XML" },
    { "<a></ab>", "!not valid XML" },
    { "<ab></a>", "!not valid XML" },
    { "<a></a", "!not valid XML" },
    { "<a></a >x", "!not valid XML" },
    { "<a/><a/>", "!not valid XML" },
    { "<a/ >", "!not valid XML" },
    { "<a/", "!not valid XML" },
    { "<a b>", "!not valid XML" },
    { "<a b=c/>", "!not valid XML" },
    { "<a b='c/>", "!not valid XML" },
    { "<a b='<'/>", "!not valid XML" },
    { "<a b='1'c='2'/>", "!not valid XML" },
    { "<1a/>", "!not valid XML" },
    { "<?xml version='1.0'", "!not valid XML" },
    { "<?xml>", "!not valid XML" },
    { "<a><?b?></a>", "!not valid XML" },
    { "<!DOCTYPE a [<!ENTITY b \"c\">]><a/>", "!not valid XML" },
    { TEST_ASSUMED(TEST_ALL "<!-- -->"), "!not valid XML" },
    { TEST_ASSUMED("<AccessKeyId><![CDATA[A]]></AccessKeyId>"),
      "!not valid XML" },
    { "<a><a><a><a><a><a><a><a><a/></a></a></a></a></a></a></a></a>",
      "!not valid XML" },
    { TEST_ASSUMED(TEST_ALL TEST_ID), "!not valid XML" },

    { "<a/>", "!Credentials" },
    { "<a><a><a><a><a><a><a><a/></a></a></a></a></a></a></a>",
      "!Credentials" },
    { "<html><body>busy</body></html>", "!Credentials" },
    { TEST_ASSUMED(""), "!Credentials" },
    { TEST_ASSUMED(TEST_ID TEST_SECRET), "!Credentials" },
    { TEST_ASSUMED(TEST_ID TEST_TOKEN), "!Credentials" },
    { TEST_ASSUMED(TEST_SECRET TEST_TOKEN), "!Credentials" },
    { TEST_ASSUMED("<AccessKeyId/>" TEST_SECRET TEST_TOKEN), "!Credentials" },
    { TEST_ASSUMED("<b>" TEST_ALL "</b>"), "!Credentials" },
    { TEST_ASSUMED("<AccessKeyId><b>A</b></AccessKeyId>" TEST_SECRET
                   TEST_TOKEN), "!Credentials" },
    { "<Credentials>" TEST_ALL "</Credentials>", "!Credentials" },

    { TEST_ASSUMED("<AccessKeyId>A&b;</AccessKeyId>" TEST_SECRET TEST_TOKEN),
      "!entity" },
    { TEST_ASSUMED("<AccessKeyId>A&#</AccessKeyId>" TEST_SECRET TEST_TOKEN),
      "!entity" },
    { TEST_ASSUMED("<AccessKeyId>A&#;</AccessKeyId>" TEST_SECRET TEST_TOKEN),
      "!entity" },
    { TEST_ASSUMED("<AccessKeyId>A&#0;</AccessKeyId>" TEST_SECRET
                   TEST_TOKEN), "!entity" },
    { TEST_ASSUMED("<AccessKeyId>A&#xg;</AccessKeyId>" TEST_SECRET
                   TEST_TOKEN), "!entity" },
    { TEST_ASSUMED("<AccessKeyId>A&#99999999999999999999999;</AccessKeyId>"
                   TEST_SECRET TEST_TOKEN), "!entity" },
    { TEST_ASSUMED("<AccessKeyId>A&#233;</AccessKeyId>" TEST_SECRET
                   TEST_TOKEN), "!entity" },

    { TEST_ASSUMED("<AccessKeyId>A B</AccessKeyId>" TEST_SECRET TEST_TOKEN),
      "!invalid character" },
    { TEST_ASSUMED(TEST_ID TEST_SECRET
                   "<SessionToken>a&quot;</SessionToken>"),
      "!invalid character" },
    { TEST_ASSUMED(TEST_ID TEST_SECRET
                   "<SessionToken>a&#10;b</SessionToken>"),
      "!invalid character" },

    { TEST_ERROR("AccessDenied"), "!trust policy" },
    { TEST_ERROR("ExpiredTokenException"), "!has expired" },
    { TEST_ERROR("InvalidIdentityToken"), "!OIDC provider" },
    { TEST_ERROR("IDPCommunicationError"), "!reach the issuer" },
    { TEST_ERROR("IDPRejectedClaim"), "!rejects" },
    { TEST_ERROR("RegionDisabledException"), "!region" },
    { TEST_ERROR("ValidationError"), "!name of the session" },
    { TEST_ERROR("Throttling"), "!answers with an error" },
    { TEST_ERROR(""), "!answers with an error" },
    { NULL, NULL }
};


int
main(void)
{
    test_worked_example();
    test_tokens_refused();
    test_urls();
    test_regions();
    test_containers();
    test_answers(ngx_gcs_aws_parse_keys, answers);
    test_answers(ngx_gcs_aws_parse_assumed, assumed);
    test_wiped();
    test_assume_role();
    test_no_memory();

    return test_failures;
}


/* bytes that another program has computed */

static void
test_worked_example(void)
{
    u_char               digest[NGX_GCS_SHA256_LEN], hex[64];
    ngx_str_t            region, url, audience, token;
    ngx_pool_t          *pool;
    ngx_gcs_aws_keys_t   keys;

    pool = test_pool();
    keys = test_keys(pool);

    region = test_text(pool, "us-west-2");
    url = test_text(pool, TEST_STS);
    audience = test_text(pool, TEST_AUDIENCE);

    test_check(ngx_gcs_aws_subject_token(pool, &keys, &region, &url,
                                         &audience, 1767323045, &token)
               == NGX_OK, NULL);

    test_check(token.len == 960, "length");
    test_check(memcmp(token.data, "%7B%22url%22%3A%22https%3A%2F%2Fsts.us-"
                      "west-2", 45) == 0, "beginning");
    test_check(test_contains(&token, "3a3dbb26445a15ed1b37e5dea323dc7c"
                             "c46591d599361a6c42d5ece13cec0be3"),
               "signature");

    test_check(ngx_gcs_crypto_sha256(&token, digest) == NGX_OK, NULL);
    ngx_hex_dump(hex, digest, NGX_GCS_SHA256_LEN);
    test_check(memcmp(hex, "9a8927b96cab2296d623b33868938a4a"
                      "9c82caf5da1c6ad5b28ac63036be6c50", 64) == 0, "bytes");

    /* a user's keys come without a session */

    keys.session_token.len = 0;

    test_check(ngx_gcs_aws_subject_token(pool, &keys, &region, &url,
                                         &audience, 1767323045, &token)
               == NGX_OK
               && !test_contains(&token, "security-token"), NULL);

    ngx_destroy_pool(pool);
}


static void
test_tokens_refused(void)
{
    ngx_str_t            good[6], region, url;
    ngx_uint_t           i, n;
    ngx_pool_t          *pool;
    ngx_gcs_aws_keys_t   keys;
    static const char   *bad[] = { "", "a b", "a\n", "a\"", "a\\", "\x7f",
                                   "\xc3\xa9", NULL };

    pool = test_pool();

    for (n = 0; n < 5; n++) {

        for (i = 0; bad[i]; i++) {

            /* no session token is fine */

            if (n == 4 && i == 0) {
                continue;
            }

            keys = test_keys(pool);
            region = test_text(pool, "us-west-2");
            good[5] = test_text(pool, TEST_AUDIENCE);
            url = test_text(pool, TEST_STS);

            switch (n) {

            case 0:
                region = test_text(pool, bad[i]);
                break;

            case 1:
                good[5] = test_text(pool, bad[i]);
                break;

            case 2:
                keys.access_key_id = test_text(pool, bad[i]);
                break;

            case 3:
                keys.secret_access_key = test_text(pool, bad[i]);
                break;

            default:
                keys.session_token = test_text(pool, bad[i]);
                break;
            }

            test_check(ngx_gcs_aws_subject_token(pool, &keys, &region, &url,
                                                 &good[5], 0, &good[0])
                       == NGX_DECLINED, bad[i]);
        }
    }

    ngx_destroy_pool(pool);
}


static void
test_urls(void)
{
    ngx_str_t           url, region;
    ngx_pool_t         *pool;
    test_url_t         *t;
    ngx_gcs_aws_url_t   parts;

    pool = test_pool();
    region = test_text(pool, "us-east-2");

    for (t = urls; t->url; t++) {
        url = test_text(pool, t->url);

        if (t->host == NULL) {
            test_check(ngx_gcs_aws_url(pool, &url, &region, &parts)
                       == NGX_DECLINED, t->url);
            continue;
        }

        test_check(ngx_gcs_aws_url(pool, &url, &region, &parts) == NGX_OK,
                   t->url);
        test_check(test_equal(&parts.host, t->host), t->url);
        test_check(test_equal(&parts.service, t->service), t->url);
        test_check(test_equal(&parts.path, t->path), t->url);
        test_check(test_equal(&parts.query, t->query), t->url);
    }

    url.len = NGX_GCS_AWS_URL_MAX + 1;
    url.data = ngx_pnalloc(pool, url.len);
    memset(url.data, 'a', url.len);
    memcpy(url.data, "https://a/", 10);

    test_check(ngx_gcs_aws_url(pool, &url, &region, &parts) == NGX_DECLINED,
               "too long");

    url.len--;
    test_check(ngx_gcs_aws_url(pool, &url, &region, &parts) == NGX_OK,
               "the longest");

    ngx_destroy_pool(pool);
}


static void
test_regions(void)
{
    ngx_str_t     zone, region;
    ngx_pool_t   *pool;
    test_pair_t  *t;

    pool = test_pool();

    for (t = regions; t->text; t++) {
        zone = test_text(pool, t->text);

        if (t->want == NULL) {
            test_check(ngx_gcs_aws_region(&zone, &region) == NGX_DECLINED,
                       t->text);
            continue;
        }

        test_check(ngx_gcs_aws_region(&zone, &region) == NGX_OK
                   && test_equal(&region, t->want), t->text);
    }

    ngx_destroy_pool(pool);
}


static void
test_containers(void)
{
    ngx_str_t     url;
    ngx_pool_t   *pool;
    test_pair_t  *t;

    pool = test_pool();

    for (t = containers; t->text; t++) {
        url = test_text(pool, t->text);

        test_check(ngx_gcs_aws_container_url_allowed(&url)
                   == (t->want != NULL), t->text);
    }

    ngx_destroy_pool(pool);
}


static void
test_answers(test_parse_pt parse, test_pair_t *t)
{
    char                *err, found[256];
    ngx_int_t            rc;
    ngx_str_t            text;
    ngx_pool_t          *pool;
    ngx_gcs_aws_keys_t   keys;

    for ( /* void */ ; t->text; t++) {
        pool = test_pool();
        text = test_text(pool, t->text);
        err = NULL;

        rc = parse(pool, &text, &keys, &err);

        if (t->want[0] == '!') {
            test_check(rc == NGX_DECLINED, t->text);
            test_check(err != NULL && strstr(err, t->want + 1) != NULL,
                       t->text);

        } else {
            test_check(rc == NGX_OK, t->text);

            if (rc == NGX_OK) {
                sprintf(found, "%s %s %s",
                        test_cstr(pool, &keys.access_key_id),
                        test_cstr(pool, &keys.secret_access_key),
                        keys.session_token.len
                        ? test_cstr(pool, &keys.session_token) : "");
                test_check(strcmp(found, t->want) == 0, t->text);
            }
        }

        ngx_destroy_pool(pool);
    }

    pool = test_pool();
    text.len = 65537;
    text.data = ngx_pcalloc(pool, text.len);
    test_check(parse(pool, &text, &keys, &err) == NGX_DECLINED
               && strstr(err, "too large") != NULL, NULL);
    ngx_destroy_pool(pool);
}


/* what the functions return is zeros before its memory goes */

static void
test_wiped(void)
{
    char                *err;
    ngx_str_t            arn, none, json, xml, token, body;
    ngx_pool_t          *pool;
    ngx_gcs_aws_keys_t   one, two;
    ngx_pool_cleanup_t  *cln;

    pool = test_pool();

    json = test_text(pool, "{" TEST_KEYS ",\"Token\":\"TOKEN\"}");
    xml = test_text(pool, TEST_ASSUMED(TEST_ALL));
    arn = test_text(pool, "arn:aws:iam::123456789012:role/a");
    token = test_text(pool, "eyFAKE");
    ngx_str_null(&none);

    test_check(ngx_gcs_aws_parse_keys(pool, &json, &one, &err) == NGX_OK
               && ngx_gcs_aws_parse_assumed(pool, &xml, &two, &err) == NGX_OK
               && ngx_gcs_aws_assume_role(pool, &arn, &none, &token, &body)
                  == NGX_OK, NULL);

    test_check(!test_zeros(&one.secret_access_key), NULL);

    for (cln = pool->cleanup; cln; cln = cln->next) {
        cln->handler(cln->data);
        cln->handler = NULL;
    }

    test_check(test_zeros(&one.secret_access_key), "JSON");
    test_check(test_zeros(&one.session_token), "JSON");
    test_check(test_zeros(&two.secret_access_key), "XML");
    test_check(test_zeros(&two.session_token), "XML");
    test_check(test_zeros(&body), "form");

    ngx_destroy_pool(pool);
}


static void
test_assume_role(void)
{
    ngx_str_t            arn, name, token, body;
    ngx_uint_t           i;
    ngx_pool_t          *pool;
    static const char   *names[] = { "a", "a b", "a/b", "a\n", "a\xc3\xa9",
                                     "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
                                     "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
                                     NULL };
    static const char   *arns[] = { "", "arn", "role/a", "arn: a", "arn:\n",
                                    NULL };
    static const char   *tokens[] = { "", " \n", "a b", "a\r\nb", "a\x01",
                                      NULL };

    pool = test_pool();

    arn = test_text(pool, "arn:aws:iam::123456789012:role/my-role");
    name = test_text(pool, "a+=,.@-_1");
    token = test_text(pool, "\teyFAKE.a-b_c.d\n");

    test_check(ngx_gcs_aws_assume_role(pool, &arn, &name, &token, &body)
               == NGX_OK, NULL);
    test_check(test_equal(&body, "Action=AssumeRoleWithWebIdentity"
                          "&Version=2011-06-15&RoleArn=arn%3Aaws%3Aiam%3A%3A"
                          "123456789012%3Arole%2Fmy-role&RoleSessionName="
                          "a%2B%3D%2C.%40-_1&WebIdentityToken="
                          "eyFAKE.a-b_c.d"), NULL);

    name.len = 0;
    test_check(ngx_gcs_aws_assume_role(pool, &arn, &name, &token, &body)
               == NGX_OK
               && test_contains(&body, "&RoleSessionName=ngx-gcs-proxy&"),
               "a name of ours");

    for (i = 0; names[i]; i++) {
        name = test_text(pool, names[i]);
        test_check(ngx_gcs_aws_assume_role(pool, &arn, &name, &token, &body)
                   == NGX_DECLINED, names[i]);
    }

    name.len = 0;

    for (i = 0; arns[i]; i++) {
        arn = test_text(pool, arns[i]);
        test_check(ngx_gcs_aws_assume_role(pool, &arn, &name, &token, &body)
                   == NGX_DECLINED, arns[i]);
    }

    arn = test_text(pool, "arn:aws:iam::123456789012:role/my-role");

    for (i = 0; tokens[i]; i++) {
        token = test_text(pool, tokens[i]);
        test_check(ngx_gcs_aws_assume_role(pool, &arn, &name, &token, &body)
                   == NGX_DECLINED, tokens[i]);
    }

    ngx_destroy_pool(pool);
}


static void
test_no_memory(void)
{
    char                *err;
    ngx_int_t            rc;
    ngx_str_t            region, url, text, json, xml, token, none;
    ngx_uint_t           n, which;
    ngx_pool_t          *pool, *keep;
    ngx_gcs_aws_keys_t   keys, found;

    keep = test_pool();
    keys = test_keys(keep);

    region = test_text(keep, "us-west-2");
    url = test_text(keep, "https://sts.{region}.x/a?a&b&c&d&e&f");
    text = test_text(keep, "arn:a");
    json = test_text(keep, "{" TEST_KEYS ",\"Token\":\"TOKEN\"}");
    xml = test_text(keep, TEST_ASSUMED(TEST_ALL));
    ngx_str_null(&none);

    for (which = 0; which < 4; which++) {

        for (n = 1; /* void */ ; n++) {
            pool = test_pool();

            shim_allocs = 0;
            shim_fail_at = n;

            switch (which) {

            case 0:
                rc = ngx_gcs_aws_subject_token(pool, &keys, &region, &url,
                                               &text, 0, &token);
                break;

            case 1:
                rc = ngx_gcs_aws_parse_keys(pool, &json, &found, &err);
                break;

            case 2:
                rc = ngx_gcs_aws_parse_assumed(pool, &xml, &found, &err);
                break;

            default:
                rc = ngx_gcs_aws_assume_role(pool, &text, &none, &region,
                                             &token);
                break;
            }

            shim_fail_at = 0;

            ngx_destroy_pool(pool);

            if (shim_allocs < n) {
                break;
            }

            test_check(rc == NGX_ERROR, "no memory");
        }

        test_check(rc == NGX_OK && n > 3, "allocations were made to fail");
    }

    ngx_destroy_pool(keep);
}


static ngx_gcs_aws_keys_t
test_keys(ngx_pool_t *pool)
{
    ngx_gcs_aws_keys_t  keys;

    keys.access_key_id = test_text(pool, "AKIAFAKEEXAMPLE00001");
    keys.secret_access_key = test_text(pool, "fakeSecretKeyFakeSecretKey"
                                       "FakeSecretKey0");
    keys.session_token = test_text(pool, "FAKE/SESSION+TOKEN==");

    return keys;
}


static ngx_uint_t
test_zeros(ngx_str_t *text)
{
    size_t  i;

    for (i = 0; i < text->len; i++) {
        if (text->data[i]) {
            return 0;
        }
    }

    return text->len != 0;
}
