
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


/*
 * The ways of a workload on AWS to its token: whose keys are taken, what is
 * asked for them, and what is made of them.
 */


#include "walk.h"


#define TEST_IMDS  "http://169.254.169.254/latest/"

#define TEST_KEYS                                                             \
    "{\"Code\":\"Success\",\"AccessKeyId\":\"ASIAIMDS\","                     \
    "\"SecretAccessKey\":\"hidden-imds\",\"Token\":\"hidden-session\"}"

#define TEST_AGENT_KEYS                                                       \
    "{\"AccessKeyId\":\"ASIAAGENT\",\"SecretAccessKey\":\"hidden-agent\","    \
    "\"Token\":\"hidden-session\"}"

#define TEST_ASSUMED                                                          \
    "<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult>"    \
    "<Credentials><AccessKeyId>ASIAIRSA</AccessKeyId>"                        \
    "<SecretAccessKey>hidden-irsa</SecretAccessKey>"                          \
    "<SessionToken>hidden-session</SessionToken></Credentials>"               \
    "</AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"

#define TEST_REFUSED(code)                                                    \
    "<ErrorResponse><Error><Code>" code "</Code><Message>hidden</Message>"    \
    "</Error></ErrorResponse>"

#define TEST_SESSION                                                          \
    { "PUT " TEST_IMDS "api/token",                                           \
      "X-aws-ec2-metadata-token-ttl-seconds: 300\n", "",                      \
      200, "hidden-imds-session", 0 }

#define TEST_REGION(header)                                                   \
    { "GET " TEST_IMDS "meta-data/placement/availability-zone", header, "",   \
      200, "us-east-2b", 0 }

#define TEST_ROLE(header)                                                     \
    { "GET " TEST_IMDS "meta-data/iam/security-credentials", header, "",      \
      200, "my-role\n", 0 },                                                  \
    { "GET " TEST_IMDS "meta-data/iam/security-credentials/my-role", header,  \
      "", 200, TEST_KEYS, 0 }

#define TEST_V2  "X-aws-ec2-metadata-token: hidden-imds-session\n"

#define TEST_EXCHANGE                                                         \
    { "POST https://sts.googleapis.com/v1/token", WALK_FORM,                  \
      WALK_STS "scope=" NGX_GCS_SCOPE_READ "\n" WALK_STS_ACCESS               \
      "subject_token_type=" NGX_GCS_SUBJECT_TYPE_AWS "\nsubject_token=*",     \
      200, WALK_TOKEN("hidden-a"), 0 }

#define TEST_END  { NULL, NULL, NULL, 0, NULL, 0 }

#define TEST_WEB_FILE                                                         \
    { "FILE /run/web", "", "", 200, "hidden-web\n", 0 }

#define TEST_ASSUME(host)                                                     \
    { "POST https://" host "/", WALK_FORM,                                    \
      "Action=AssumeRoleWithWebIdentity\nVersion=2011-06-15\n"                \
      "RoleArn=arn:aws:iam::123:role/r\nRoleSessionName=ngx-gcs-proxy\n"      \
      "WebIdentityToken=hidden-web\n",                                        \
      200, TEST_ASSUMED, 0 }


static void test_environment(void);
static void test_instance(void);
static void test_version_1(void);
static void test_web_identity(void);
static void test_container(void);
static void test_order(void);
static void test_failures_of_aws(void);
static void test_nothing(void);
static void test_go(walk_step_t *steps, const char *id, const char *secret,
    const char *session, const char *region);
static void test_subject(ngx_str_t *form, const char *id, const char *secret,
    const char *session, const char *region);
static const char *test_header(json_t *headers, const char *name);
static void test_clear(void);


static ngx_pool_t                 *keep;
static ngx_gcs_credentials_t       cred;
static ngx_gcs_aws_environment_t   aws;


int
main(void)
{
    shim_secret = "hidden";

    files_make_key();

    keep = test_pool();
    cred = walk_file(keep, TEST_EXTERNAL_AWS);
    ngx_str_set(&cred.subject.type, NGX_GCS_SUBJECT_TYPE_AWS);
    cred.aws = &aws;

    test_environment();
    test_instance();
    test_version_1();
    test_web_identity();
    test_container();
    test_order();
    test_failures_of_aws();
    test_nothing();

    ngx_destroy_pool(keep);

    test_check(shim_left == 0, "secrets in a pool");
    test_check(files_freed == 0, "secrets in a JSON string");

    return test_failures;
}


static void
test_environment(void)
{
    walk_step_t  both[] = { TEST_EXCHANGE, TEST_END };
    walk_step_t  asked[] = {
        TEST_SESSION, TEST_REGION(TEST_V2), TEST_EXCHANGE, TEST_END
    };
    walk_step_t  plain[] = { TEST_REGION(""), TEST_EXCHANGE, TEST_END };
    ngx_str_t    url;

    /* keys and region: nothing is asked */

    test_clear();
    ngx_str_set(&aws.keys.access_key_id, "AKIAENV");
    ngx_str_set(&aws.keys.secret_access_key, "hidden-env");
    ngx_str_set(&aws.region, "eu-central-1");

    test_go(both, "AKIAENV", "hidden-env", NULL, "eu-central-1");

    ngx_str_set(&aws.keys.session_token, "hidden-env-session");
    test_go(both, "AKIAENV", "hidden-env", "hidden-env-session",
            "eu-central-1");

    /* the region alone, with a session and without one */

    ngx_str_null(&aws.region);
    test_go(asked, "AKIAENV", "hidden-env", "hidden-env-session", "us-east-2");

    url = cred.subject.session_url;
    ngx_str_null(&cred.subject.session_url);
    test_go(plain, "AKIAENV", "hidden-env", "hidden-env-session", "us-east-2");
    cred.subject.session_url = url;
}


static void
test_instance(void)
{
    walk_step_t  all[] = {
        TEST_SESSION, TEST_REGION(TEST_V2), TEST_ROLE(TEST_V2),
        TEST_EXCHANGE, TEST_END
    };
    walk_step_t  region[] = {
        TEST_SESSION, TEST_ROLE(TEST_V2), TEST_EXCHANGE, TEST_END
    };

    test_clear();
    test_go(all, "ASIAIMDS", "hidden-imds", "hidden-session", "us-east-2");

    test_check(walk_requests[0].timeout == 2000, NULL);
    test_check(walk_requests[1].timeout == 5000, NULL);
    test_check(walk_requests[3].timeout == 5000, NULL);
    test_check(walk_requests[0].direct && walk_requests[1].direct
               && walk_requests[2].direct && walk_requests[3].direct
               && !walk_requests[4].direct, "proxy");

    ngx_str_set(&aws.region, "eu-central-1");
    test_go(region, "ASIAIMDS", "hidden-imds", "hidden-session",
            "eu-central-1");

    /* the impersonation of the file comes after all that */

    test_check(cred.impersonations.nelts == 0, NULL);
}


/* no session is needed where there is none */

static void
test_version_1(void)
{
    ngx_str_t            url;
    ngx_uint_t           i;
    walk_step_t          none[] = {
        TEST_REGION(""), TEST_ROLE(""), TEST_EXCHANGE, TEST_END
    };
    walk_step_t          steps[] = {
        TEST_SESSION, TEST_REGION(""), TEST_ROLE(""), TEST_EXCHANGE, TEST_END
    };
    static ngx_uint_t    refused[] = { 0, 400, 403, 404, 405, 429, 500, 503 };

    test_clear();

    for (i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
        steps[0].status = refused[i];
        steps[0].answer = "hidden-no";

        test_go(steps, "ASIAIMDS", "hidden-imds", "hidden-session",
                "us-east-2");
    }

    url = cred.subject.session_url;
    ngx_str_null(&cred.subject.session_url);

    test_go(none, "ASIAIMDS", "hidden-imds", "hidden-session", "us-east-2");

    cred.subject.session_url = url;

    /* a slash at the end of the URL of keys is not doubled */

    url = cred.subject.url;
    ngx_str_set(&cred.subject.url,
                TEST_IMDS "meta-data/iam/security-credentials/");
    steps[2].request = "GET " TEST_IMDS "meta-data/iam/security-credentials/";

    test_go(steps, "ASIAIMDS", "hidden-imds", "hidden-session", "us-east-2");

    cred.subject.url = url;
}


/* IRSA of EKS */

static void
test_web_identity(void)
{
    walk_step_t  steps[] = {
        TEST_WEB_FILE, TEST_ASSUME("sts.eu-central-1.amazonaws.com"),
        TEST_EXCHANGE, TEST_END
    };
    walk_step_t  china[] = {
        TEST_WEB_FILE, TEST_ASSUME("sts.cn-north-1.amazonaws.com.cn"),
        TEST_EXCHANGE, TEST_END
    };
    walk_step_t  asked[] = {
        TEST_SESSION, TEST_REGION(TEST_V2), TEST_WEB_FILE,
        TEST_ASSUME("sts.us-east-2.amazonaws.com"), TEST_EXCHANGE, TEST_END
    };

    test_clear();
    ngx_str_set(&aws.role_arn, "arn:aws:iam::123:role/r");
    ngx_str_set(&aws.web_identity_token_file, "/run/web");
    ngx_str_set(&aws.region, "eu-central-1");

    test_go(steps, "ASIAIRSA", "hidden-irsa", "hidden-session",
            "eu-central-1");
    test_check(!walk_requests[1].direct, "STS may be behind a proxy");

    ngx_str_set(&aws.region, "cn-north-1");
    test_go(china, "ASIAIRSA", "hidden-irsa", "hidden-session", "cn-north-1");

    /* the region is asked for before, since STS is a regional service */

    ngx_str_null(&aws.region);
    test_go(asked, "ASIAIRSA", "hidden-irsa", "hidden-session", "us-east-2");

    /* what the environment says about STS and the session */

    ngx_str_set(&aws.region, "eu-central-1");
    ngx_str_set(&aws.sts_url, "https://sts.example/");
    ngx_str_set(&aws.role_session_name, "my.session@x");
    steps[1].request = "POST https://sts.example/";
    steps[1].body = "Action=AssumeRoleWithWebIdentity\nVersion=2011-06-15\n"
                    "RoleArn=arn:aws:iam::123:role/r\n"
                    "RoleSessionName=my.session@x\n"
                    "WebIdentityToken=hidden-web\n";

    test_go(steps, "ASIAIRSA", "hidden-irsa", "hidden-session",
            "eu-central-1");
}


/* Pod Identity of EKS, ECS */

static void
test_container(void)
{
    walk_step_t  steps[] = {
        { "GET http://169.254.170.23/v1/credentials",
          "Authorization: hidden-token\n", "", 200, TEST_AGENT_KEYS, 0 },
        TEST_EXCHANGE, TEST_END
    };
    walk_step_t  file[] = {
        { "FILE /run/agent", "", "", 200, " hidden-rotated\n", 0 },
        { "GET http://169.254.170.23/v1/credentials",
          "Authorization: hidden-rotated\n", "", 200, TEST_AGENT_KEYS, 0 },
        TEST_EXCHANGE, TEST_END
    };

    test_clear();
    ngx_str_set(&aws.container_url, "http://169.254.170.23/v1/credentials");
    ngx_str_set(&aws.container_token, "hidden-token");
    ngx_str_set(&aws.region, "eu-central-1");

    test_go(steps, "ASIAAGENT", "hidden-agent", "hidden-session",
            "eu-central-1");
    test_check(walk_requests[0].direct && walk_requests[0].timeout == 5000,
               NULL);

    ngx_str_null(&aws.container_token);
    ngx_str_set(&aws.container_token_file, "/run/agent");
    test_go(file, "ASIAAGENT", "hidden-agent", "hidden-session",
            "eu-central-1");

    ngx_str_null(&aws.container_token_file);
    steps[0].headers = "";
    test_go(steps, "ASIAAGENT", "hidden-agent", "hidden-session",
            "eu-central-1");
}


/* a pod with an identity of its own must not get that of its node */

static void
test_order(void)
{
    walk_step_t  keys[] = { TEST_EXCHANGE, TEST_END };
    walk_step_t  identity[] = {
        TEST_WEB_FILE, TEST_ASSUME("sts.eu-central-1.amazonaws.com"),
        TEST_EXCHANGE, TEST_END
    };
    walk_step_t  agent[] = {
        { "GET http://169.254.170.2/a", "", "", 200, TEST_AGENT_KEYS, 0 },
        TEST_EXCHANGE, TEST_END
    };
    walk_step_t  instance[] = {
        TEST_SESSION, TEST_ROLE(TEST_V2), TEST_EXCHANGE, TEST_END
    };

    test_clear();
    ngx_str_set(&aws.region, "eu-central-1");
    ngx_str_set(&aws.keys.access_key_id, "AKIAENV");
    ngx_str_set(&aws.keys.secret_access_key, "hidden-env");
    ngx_str_set(&aws.role_arn, "arn:aws:iam::123:role/r");
    ngx_str_set(&aws.web_identity_token_file, "/run/web");
    ngx_str_set(&aws.container_url, "http://169.254.170.2/a");

    test_go(keys, "AKIAENV", "hidden-env", NULL, "eu-central-1");

    ngx_memzero(&aws.keys, sizeof(aws.keys));
    test_go(identity, "ASIAIRSA", "hidden-irsa", "hidden-session",
            "eu-central-1");

    /* a file without a role is no identity */

    ngx_str_null(&aws.role_arn);
    test_go(agent, "ASIAAGENT", "hidden-agent", "hidden-session",
            "eu-central-1");

    ngx_str_null(&aws.container_url);
    test_go(instance, "ASIAIMDS", "hidden-imds", "hidden-session",
            "eu-central-1");
}


typedef struct {
    ngx_uint_t   steps;         /* that go well before */
    ngx_uint_t   status;
    const char  *answer;
    ngx_int_t    rc;
    const char  *error;
    const char  *word;
} test_failure_t;


static test_failure_t  instance_failures[] = {
    { 0, 200, "", NGX_DECLINED, "AWS metadata service gave no valid session "
      "token", NULL },
    { 0, 200, "hidden\r\nX: y", NGX_DECLINED, "no valid session token", NULL },
    { 1, 200, "", NGX_DECLINED, "gave no valid availability zone", NULL },
    { 1, 200, "<html>hidden</html>", NGX_DECLINED, "no valid availability",
      NULL },
    { 1, 200, "us-east", NGX_DECLINED, "no valid availability zone", NULL },
    { 1, 404, "", NGX_DECLINED, "AWS metadata service answered 404",
      "no_aws_role" },
    { 1, 503, "", NGX_BUSY, "AWS metadata service answered 503", NULL },
    { 1, 0, "timed out", NGX_BUSY, "AWS metadata service: timed out", NULL },
    { 2, 200, "", NGX_DECLINED, "gave no valid name of a role", NULL },
    { 2, 200, "role-a\nrole-b", NGX_DECLINED, "no valid name of a role",
      NULL },
    { 2, 200, "../x", NGX_DECLINED, "no valid name of a role", NULL },
    { 2, 200, "x?y", NGX_DECLINED, "no valid name of a role", NULL },
    { 2, 200, "x#y", NGX_DECLINED, "no valid name of a role", NULL },
    { 2, 404, "<html>hidden</html>", NGX_DECLINED, "answered 404 without a "
      "reason; no role is attached to this instance", "no_aws_role" },
    { 2, 401, "", NGX_DECLINED, "AWS metadata service answered 401",
      "no_aws_role" },
    { 2, 403, "", NGX_DECLINED, "AWS metadata service answered 403",
      "no_aws_role" },
    { 3, 404, "", NGX_DECLINED, "no role is attached", "no_aws_role" },
    { 3, 200, "<hidden", NGX_DECLINED, "gave no keys: the answer is not a "
      "JSON object", NULL },
    { 3, 200, "{\"Code\":\"Failed\",\"Message\":\"hidden\"}", NGX_DECLINED,
      "gave no keys: \"Code\" in the answer is not \"Success\"", NULL },
    { 3, 200, "{\"Code\":\"AssumeRoleUnauthorizedAccess\"}", NGX_DECLINED,
      "EC2 may not assume the role of the instance", NULL },
    { 3, 200, "{\"Code\":\"Success\",\"AccessKeyId\":\"A\"}", NGX_DECLINED,
      "there is no \"SecretAccessKey\" in the answer", NULL },
    { 0, 0, NULL, 0, NULL, NULL }
};


static test_failure_t  identity_failures[] = {
    { 0, 0, "open() \"/run/web\" failed (2: No such file or directory)",
      NGX_BUSY, "AWS web identity token: open() \"/run/web\" failed", NULL },
    { 0, 200, " \n", NGX_DECLINED, "AWS web identity token is empty", NULL },
    { 1, 403, TEST_REFUSED("AccessDenied"), NGX_DECLINED,
      "AWS STS gave no keys: AWS denies AssumeRoleWithWebIdentity "
      "(AccessDenied)", "aws_role_denied" },
    { 1, 400, TEST_REFUSED("ExpiredTokenException"), NGX_DECLINED,
      "the web identity token has expired (ExpiredTokenException)",
      "aws_role_denied" },
    { 1, 400, TEST_REFUSED("InvalidIdentityToken"), NGX_DECLINED,
      "(InvalidIdentityToken)", "aws_role_denied" },
    { 1, 400, TEST_REFUSED("ValidationError"), NGX_DECLINED,
      "(ValidationError)", "aws_role_denied" },
    { 1, 400, TEST_REFUSED("hidden"), NGX_DECLINED,
      "AWS STS answers with an error", "aws_role_denied" },
    { 1, 400, "hidden", NGX_DECLINED, "not valid XML", "aws_role_denied" },
    { 1, 200, "", NGX_DECLINED, "empty", NULL },
    { 1, 200, "<a/>", NGX_DECLINED, "no complete \"Credentials\"", NULL },
    { 1, 429, TEST_REFUSED("Throttling"), NGX_BUSY, "AWS STS", NULL },
    { 1, 500, TEST_REFUSED("InternalFailure"), NGX_BUSY, "AWS STS", NULL },
    { 1, 503, "", NGX_BUSY, "AWS STS gave no keys", NULL },
    { 1, 400, TEST_ASSUMED, NGX_DECLINED, "unexpected status",
      "aws_role_denied" },
    { 1, 0, "timed out", NGX_BUSY, "AWS STS: timed out", NULL },
    { 0, 0, NULL, 0, NULL, NULL }
};


static test_failure_t  agent_failures[] = {
    { 0, 0, "no file", NGX_BUSY, "AWS container authorization token: no "
      "file", NULL },
    { 0, 200, "", NGX_DECLINED, "AWS container authorization token is empty",
      NULL },
    { 0, 200, "hidden\r\nX: y", NGX_DECLINED, "AWS container authorization "
      "token has an invalid character", NULL },
    { 1, 200, "{}", NGX_DECLINED, "AWS container credentials gave no keys: "
      "there is no \"AccessKeyId\"", NULL },
    { 1, 200, "{\"code\":\"hidden\"}", NGX_DECLINED, "\"Code\" in the answer",
      NULL },
    { 1, 401, "{\"message\":\"hidden\"}", NGX_DECLINED,
      "AWS container credentials answered 401 without a reason; the "
      "agent of the container does not give keys", "no_aws_role" },
    { 1, 500, "", NGX_BUSY, "AWS container credentials answered 500",
      "no_aws_role" },
    { 1, 0, "refused", NGX_BUSY, "AWS container credentials: refused; the "
      "agent", "no_aws_role" },
    { 0, 0, NULL, 0, NULL, NULL }
};


static void
test_failures_of_aws(void)
{
    ngx_uint_t        i, n;
    ngx_pool_t       *pool;
    walk_step_t       steps[WALK_STEPS], *good;
    test_failure_t   *t;
    ngx_gcs_grant_t  *grant;

    walk_step_t  instance[] = {
        TEST_SESSION, TEST_REGION(TEST_V2), TEST_ROLE(TEST_V2), TEST_END
    };
    walk_step_t  identity[] = {
        TEST_WEB_FILE, TEST_ASSUME("sts.eu-central-1.amazonaws.com"), TEST_END
    };
    walk_step_t  agent[] = {
        { "FILE /run/agent", "", "", 200, "hidden-token", 0 },
        { "GET http://169.254.170.2/a", "Authorization: hidden-token\n", "",
          200, TEST_AGENT_KEYS, 0 },
        TEST_END
    };

    for (n = 0; n < 3; n++) {
        test_clear();

        if (n == 0) {
            good = instance;
            t = instance_failures;

        } else if (n == 1) {
            good = identity;
            t = identity_failures;
            ngx_str_set(&aws.role_arn, "arn:aws:iam::123:role/r");
            ngx_str_set(&aws.web_identity_token_file, "/run/web");
            ngx_str_set(&aws.region, "eu-central-1");

        } else {
            good = agent;
            t = agent_failures;
            ngx_str_set(&aws.container_url, "http://169.254.170.2/a");
            ngx_str_set(&aws.container_token_file, "/run/agent");
            ngx_str_set(&aws.region, "eu-central-1");
        }

        for ( /* void */ ; t->answer; t++) {
            pool = test_pool();
            grant = ngx_gcs_grant_create(pool, &cred);

            ngx_memzero(steps, sizeof(steps));

            for (i = 0; i <= t->steps; i++) {
                steps[i] = good[i];
            }

            steps[t->steps].status = t->status;
            steps[t->steps].answer = t->answer;

            walk(grant, steps, t->rc, t->error);

            test_check(test_contains(&grant->error, t->error), t->error);
            test_check(!test_contains(&grant->error, "hidden"), t->error);
            test_check(grant->error.len <= NGX_GCS_GRANT_ERROR_MAX, t->error);
            test_check(grant->token.len == 0, t->error);
            test_check(grant->retry_after == 17, t->error);

            test_check((t->word == NULL) == (grant->word == NULL), t->error);
            test_check(t->word == NULL || grant->word == NULL
                       || strcmp(t->word, grant->word) == 0, t->error);

            ngx_destroy_pool(pool);
        }
    }
}


/* what can be asked nobody, or not be sent */

static void
test_nothing(void)
{
    ngx_str_t           url;
    ngx_uint_t          i;
    ngx_pool_t         *pool;
    ngx_gcs_grant_t    *grant;
    ngx_gcs_request_t   req;

    for (i = 0; i < 5; i++) {
        pool = test_pool();
        url = cred.subject.session_url;

        test_clear();
        ngx_memzero(&req, sizeof(req));
        ngx_str_null(&cred.subject.session_url);
        ngx_str_set(&aws.region, "eu-central-1");

        if (i == 0) {
            ngx_str_null(&aws.region);
            ngx_str_null(&cred.subject.region_url);

        } else if (i == 1) {
            ngx_str_null(&cred.subject.url);

        } else if (i == 2) {
            ngx_str_set(&aws.keys.access_key_id, "AKIA");
            ngx_str_set(&aws.keys.secret_access_key, "hidden\nX: y");

        } else if (i == 3) {
            ngx_str_set(&aws.keys.access_key_id, "AKIA");
            ngx_str_set(&aws.keys.secret_access_key, "hidden");
            ngx_str_set(&aws.region, "eu\"");

        } else {
            ngx_str_set(&aws.web_identity_token_file, "/run/web");
            ngx_str_set(&aws.role_arn, "no-arn");
        }

        grant = ngx_gcs_grant_create(pool, &cred);

        if (i == 4) {
            test_check(ngx_gcs_grant_request(grant, 1, &req) == NGX_OK, NULL);
            test_check(walk_answer(grant, 200, "a", 1, 0) == NGX_AGAIN, NULL);
        }

        test_check(ngx_gcs_grant_request(grant, 1, &req) == NGX_ERROR, NULL);

        test_check(test_contains(&grant->error,
                                 i == 0 ? "no AWS region is known; set "
                                          "AWS_REGION" :
                                 i == 1 ? "no AWS keys are in the environ" :
                                 i == 4 ? "AWS_ROLE_ARN" :
                                          "have an invalid character"), NULL);
        test_check(!test_contains(&grant->error, "hidden"), NULL);
        test_check(i > 1 || strcmp(grant->word, "no_aws_role") == 0, NULL);

        ngx_destroy_pool(pool);

        cred.subject = walk_file(keep, TEST_EXTERNAL_AWS).subject;
        ngx_str_set(&cred.subject.type, NGX_GCS_SUBJECT_TYPE_AWS);
        cred.subject.session_url = url;
    }
}


/* the whole way, and the subject token at its end */

static void
test_go(walk_step_t *steps, const char *id, const char *secret,
    const char *session, const char *region)
{
    ngx_uint_t        n;
    ngx_pool_t       *pool;
    ngx_gcs_grant_t  *grant;

    pool = test_pool();
    grant = ngx_gcs_grant_create(pool, &cred);

    walk(grant, steps, NGX_OK, id);

    for (n = 0; steps[n].request; n++) {
        /* void */
    }

    test_check(test_equal(&grant->token, "hidden-a"), id);
    test_check(grant->lifetime == 3599, id);

    test_subject(&walk_requests[n - 1].body, id, secret, session, region);

    ngx_destroy_pool(pool);

    walk_no_memory(&cred, steps);
}


/* signatures are compared with those of other signers elsewhere */

static void
test_subject(ngx_str_t *form, const char *id, const char *secret,
    const char *session, const char *region)
{
    char                *scope;
    json_t              *json, *headers;
    ngx_str_t            token, plain, where, url, audience;
    ngx_pool_t          *pool;
    const char          *value;
    ngx_gcs_aws_keys_t   keys;

    shim_secret = NULL;

    pool = test_pool();
    token = test_field(pool, form, "subject_token");

    where = test_text(pool, region);
    audience = test_text(pool, TEST_AUDIENCE);
    url = test_text(pool, "https://sts.{region}.amazonaws.com"
                          "?Action=GetCallerIdentity&Version=2011-06-15");

    keys.access_key_id = test_text(pool, id);
    keys.secret_access_key = test_text(pool, secret);
    keys.session_token = test_text(pool, session ? session : "");

    test_check(ngx_gcs_aws_subject_token(pool, &keys, &where, &url, &audience,
                                         WALK_NOW, &plain) == NGX_OK, id);
    test_check(plain.len == token.len
               && memcmp(plain.data, token.data, token.len) == 0, id);

    plain = test_unescape(pool, &token);
    json = json_loadb((char *) plain.data, plain.len, 0, NULL);
    headers = json_object_get(json, "headers");

    value = json_string_value(json_object_get(json, "method"));
    test_check(value && strcmp(value, "POST") == 0, id);

    value = json_string_value(json_object_get(json, "url"));
    test_check(value && memmem(value, strlen(value), region, strlen(region)),
               id);

    value = test_header(headers, "x-goog-cloud-target-resource");
    test_check(value && strcmp(value, TEST_AUDIENCE) == 0, id);

    value = test_header(headers, "x-amz-date");
    test_check(value && strcmp(value, "20231114T221320Z") == 0, id);

    value = test_header(headers, "x-amz-security-token");
    test_check((value == NULL) == (session == NULL), id);
    test_check(session == NULL || strcmp(value, session) == 0, id);

    value = test_header(headers, "Authorization");
    test_check(asprintf(&scope, "AWS4-HMAC-SHA256 Credential=%s/20231114/%s/"
                        "sts/aws4_request, SignedHeaders=", id, region) > 0,
               NULL);
    test_check(value && strncmp(value, scope, strlen(scope)) == 0, id);

    free(scope);
    json_decref(json);
    ngx_destroy_pool(pool);

    shim_secret = "hidden";
}


static const char *
test_header(json_t *headers, const char *name)
{
    size_t       i;
    json_t      *header;
    const char  *key;

    json_array_foreach(headers, i, header) {
        key = json_string_value(json_object_get(header, "key"));

        if (key && strcasecmp(key, name) == 0) {
            return json_string_value(json_object_get(header, "value"));
        }
    }

    return NULL;
}


static void
test_clear(void)
{
    ngx_memzero(&aws, sizeof(aws));
}
