/*
 * How dedupd carries one client token out: fronts, workers and their sweepers, the store, the queue, Nova, an
 * operator. docs/exactly-once.md explains it; `make model` checks every schedule of it within the bounds.
 *
 * What happens between two awaits is one `atomic`: one operation of the store, of the queue, or of Nova. Between
 * two of them anything else may happen, so a process is paused simply by not being chosen. What the network, the
 * machines and Nova may do wrong costs one of FAULTS each.
 *
 * Of time only that is modelled which the promise rests on: whether the settle time of a send has passed. A
 * lease may end at any moment, and whether a worker believes that it may still send is left to chance: nothing
 * here relies on it.
 *
 * Each name in an #ifdef breaks the protocol, or drops an assumption, in one place. model/variants.py lists them
 * with the property that must then fail.
 */

#ifndef FAULTS
#define FAULTS 2                        /* how much goes wrong, of whatever kinds; at most 5 */
#endif
#ifndef DEEDS
#define DEEDS 1                         /* how often the project cancels, or an operator resolves */
#endif
#if defined(OVERTAKEN_IS_LEFT) || defined(VAIN_IS_FORGOTTEN)      /* only who sleeps too long is concerned */
#define UNBOUNDED_PAUSE
#define NOTHING_MORE_FAILS
#endif
#ifdef COMPENSATE_PENDING               /* else others find what was made, and never send again */
#define UNBOUNDED_PAUSE
#endif
#define SENDS (FAULTS + 1)              /* every send but the first needs a fault */

/* ---- what is where ---------------------------------------------------------------------------------------- */

mtype:state = { none, queued, sending, unknown, done, cancelled, released };
mtype:answer = { silent, success, failure, no_effect, ambiguous };

#define NOBODY 0                        /* owners, beside the workers 1 and 2 */
#define GONE 3                          /* a worker that died, or whose lease ended */

/* The record. Of its version only that matters which a comparison tells: who holds it as it stands now. */
mtype:state state = none;
mtype:answer kept;                      /* the answer, */
byte named;                             /* and the effect that it names */
byte owner;
byte holders;

byte alive = 6;                         /* the workers whose leases stand in the store */
bool hint;                              /* whether the queue has a message */

byte lying;                             /* whose claims have a copy in a member of the store that stands still */
bool claimed;                           /* whether the token was ever claimed, */
bool begun;                             /* and a message delivered */

/* Nova. Sends are numbered through all lives of the token, and an effect by the send that made it. */
byte sends;                             /* the number of the latest one */
mtype:answer answers[SENDS + 1] = silent;
byte flying;                            /* not yet dealt with */
byte about;                             /* the workers that are about to send */
byte made;
byte deleted;
byte settled;                           /* sends whose settle time has passed */
byte past;                              /* sends of lives of the token that have ended */

byte faults = FAULTS;
byte deeds = DEEDS;

/* What is only watched. */
byte decided;                           /* sends that certainly have no effect: so answered, or looked for */
byte told;                              /* the effect that clients were told of: as soon as they can be */
bool contradicted;                      /* then they were told of another */
bool promised;                          /* a client was told, without waiting, that it goes on */
bool blind;                             /* something was sent while another send was in doubt */
byte haunted;                           /* the clients of whose claims a copy lay when they took them back */
bool returned;                          /* one of these was carried out */

/*
 * For `one_survivor`: once one worker has overslept its settle time, or another has sent again, nobody dies, Nova
 * tells what is there, and who compensates waits long enough.
 */
#ifdef NOTHING_MORE_FAILS
#define MAY_FAIL (sends <= 1 && settled == 0)
#else
#define MAY_FAIL true
#endif

#define BIT(n) (1 << (n))
#define HAS(set, n) (((set) >> (n)) & 1)
#define AT_MOST_ONE(set) (((set) & ((set) - 1)) == 0)
#define SURVIVING (made & ~deleted)
#define FIRST(set) (HAS(set, 1) -> 1 : (HAS(set, 2) -> 2 : (HAS(set, 3) -> 3 : \
	(HAS(set, 4) -> 4 : (HAS(set, 5) -> 5 : 6)))))

/* ---- what must hold --------------------------------------------------------------------------------------- */

#define AWAITED (state == queued || state == sending)
#define OVER (state == none || state == cancelled || state == released || (state == done && kept == failure))

ltl one_effect { [] AT_MOST_ONE(made) }
ltl one_answer { [] !contradicted }
ltl true_failure { [] (!OVER || SURVIVING == 0) }
ltl true_success { [] (!(state == done && kept == success) || (HAS(SURVIVING & ~past, named))) }
ltl no_broken_promise { [] !(promised && state == none) }
ltl no_blind_send { [] !blind }
ltl no_return { [] !returned }
ltl progress { [] (AWAITED -> <> !AWAITED) }
ltl one_survivor { [] <> AT_MOST_ONE(SURVIVING) }

/* ---- the store -------------------------------------------------------------------------------------------- */

#define HOLDS(who) HAS(holders, who)
#define LIVES(who) HAS(alive, who)
#ifdef UNBOUNDED_PAUSE                  /* what a sleeper makes may be taken for a later life's: not promised */
#define VACANT (state == none)
#else
#define VACANT (state == none || state == released)
#endif

#ifdef UNFENCED_COMMIT
#define MAY_COMMIT(who) true
#else
#define MAY_COMMIT(who) HOLDS(who)
#endif

#ifdef UNFENCED_BEGIN
#define MAY_BEGIN(who) LIVES(who)
#else
#define MAY_BEGIN(who) (HOLDS(who) && LIVES(who))
#endif

inline read(who) { holders = holders | BIT(who) }

inline write(who, next, by)
{
	state = next;
	owner = by;
	holders = BIT(who)
}

inline claim(who)
{
	write(who, queued, NOBODY);
	past = BIT(sends + 1) - 2;
	promised = false;
	claimed = true
}

inline finish(who, answer, effect)
{
	write(who, done, NOBODY);
	kept = answer;
	named = effect;
	contradicted = contradicted || (told != 0 && named != 0 && told != named);
	told = (named -> named : told)
}

inline lose_owner(who)
{
	if
	:: owner == who -> owner = GONE
	:: else
	fi
}

/* ---- a worker with its sweeper: worker/*.py --------------------------------------------------------------- */

#define OURS (owner == me || owner == NOBODY || owner == GONE)

/*
 * It dies: what it knew is lost, and its owner in the record will be found dead. Where a step changes nothing
 * that others see, to die behind it is to have died before it, so that this stands at few places.
 */
#define OR_CRASH :: atomic { MAY_FAIL && faults > 0 -> faults--; lose_owner(me); goto idle }

inline post()
{
	blind = blind || ((BIT(sent) - 2) & ~decided) != 0;
	flying = flying | BIT(sent);
	about = about & ~BIT(me)
}

proctype worker(byte me)
{
	byte sent;                          /* the send that it is about */
	byte found;
	bool ripe;                          /* whether its look began after the settle time */
	bool again;                         /* whether it only looks again for what is unknown */

idle:
	atomic { sent = 0; found = 0; ripe = false; again = false; holders = holders & ~BIT(me); about = about & ~BIT(me) };
end_waiting:
	if
	/* A message, which may come again. The two workers are alike: let the first one get the first. */
	:: atomic { hint && state == queued && (begun || me == 1) ->
		begun = true;
		if
		:: hint = false
		:: faults > 0 -> faults--
		fi;
		read(me);
		goto begin }
	:: atomic { hint && state != queued -> hint = false; goto end_waiting }
#ifndef NO_REPUBLISH
	:: atomic { state == queued && !hint && OURS -> hint = true; goto end_waiting }
#endif
#ifdef REQUEUE_SENDING
	:: atomic { state == sending && OURS -> write(0, queued, NOBODY); goto end_waiting }
#endif
#ifndef NO_TAKE_OVER
	:: atomic { state == sending && OURS && LIVES(me) ->    /* reconciler.take_over */
		write(me, sending, me);
		sent = sends;
		goto look }
#endif
	:: atomic { state == unknown && SURVIVING != 0 -> read(me); sent = sends; again = true; goto look }
	fi;

begin:                                          /* executor._begin */
	if
	:: atomic { MAY_BEGIN(me) ->
		sends++;
		sent = sends;
		about = about | BIT(me);
#ifdef SEND_BEFORE_WRITE
		post();
		goto write_late }
#else
		write(me, sending, me);
		goto ready }
#endif
	:: atomic { !MAY_BEGIN(me) -> goto idle }
	fi;

#ifdef SEND_BEFORE_WRITE
write_late:
	if
	:: atomic { HOLDS(me) -> write(me, sending, me); goto wait }
	:: atomic { !HOLDS(me) -> goto wait }
	OR_CRASH
	fi;
#endif

ready:                                          /* executor._exchange */
	if
#ifdef UNBOUNDED_PAUSE
	:: atomic { post(); goto wait }
#else
	:: atomic { !HAS(settled, sent) -> post(); goto wait }
	:: atomic { HAS(settled, sent) -> about = about & ~BIT(me); goto look } /* its own deadline has passed */
#endif
	OR_CRASH
	fi;

#ifdef AMBIGUOUS_IS_FAILURE
#define IN_DOUBT commit_failure
#elif defined(AMBIGUOUS_IS_NO_EFFECT)
#define IN_DOUBT without_effect
#elif defined(BLIND_RESEND)
#define IN_DOUBT begin
#else
#define IN_DOUBT look
#endif

wait:                                           /* outcome.py */
	if
	:: atomic { answers[sent] == success -> answers[sent] = silent; goto commit_success }
	:: atomic { answers[sent] == failure -> answers[sent] = silent; goto commit_failure }
	:: atomic { answers[sent] == no_effect -> answers[sent] = silent; goto without_effect }
	:: atomic { answers[sent] == ambiguous -> answers[sent] = silent; goto IN_DOUBT }
	:: atomic { faults > 0 -> faults--; answers[sent] = silent; goto IN_DOUBT }     /* lost, or too late */
	:: atomic { answers[sent] == silent && !HAS(flying, sent) -> goto IN_DOUBT }
	OR_CRASH
	fi;

/* Others have it, and have neither decided nor sent anything since: executor._finish_late. */
#ifdef LATE_ANSWER_WINS
#define UNDECIDED (state == sending || state == unknown)
#else
#define UNDECIDED ((state == sending || state == unknown) && sent == sends)
#endif

commit_success:
	if
	:: atomic { MAY_COMMIT(me) || UNDECIDED -> finish(me, success, sent); goto idle }
	:: atomic { !MAY_COMMIT(me) && !UNDECIDED -> goto compensate }
	fi;

commit_failure:
	if
	:: atomic { MAY_COMMIT(me) || UNDECIDED -> finish(me, failure, 0); goto idle }
	:: atomic { !MAY_COMMIT(me) && !UNDECIDED -> goto idle }
	fi;

without_effect:
	if
	:: atomic { MAY_COMMIT(me) -> write(me, queued, me); goto begin }
	:: atomic { MAY_COMMIT(me) -> write(me, released, NOBODY); goto idle }
	:: atomic { !MAY_COMMIT(me) -> goto idle }
	fi;

#ifdef COMPENSATE_PENDING
#define IF_PENDING undo
#else
#define IF_PENDING idle                         /* waited long enough: who goes on with it will find it */
#endif
#ifdef COMPENSATE_NAMED
#define IF_NAMED undo
#else
#define IF_NAMED idle
#endif
#define ENDED (state == done || state == cancelled || state == released)
#define NAMES(effect) (state == done && kept == success && named == effect)

compensate:                                     /* executor._compensate: undo what nobody will name */
	if
	:: atomic { (AWAITED && MAY_FAIL) || state == unknown -> found = BIT(sent); goto IF_PENDING }
	:: atomic { NAMES(sent) -> found = BIT(sent); goto IF_NAMED }
	:: atomic { state == none -> goto idle }
	:: atomic { ENDED && !NAMES(sent) -> found = BIT(sent); goto undo }
	OR_CRASH
	fi;

overtaken:                                      /* compensation.overtaken: its own send, too, is in doubt */
	if
	:: atomic { again || (AWAITED && MAY_FAIL) || state == unknown || state == none -> goto idle }
	:: atomic { ENDED && !again && !HAS(flying, sent) ->
		found = made & ~(state == done && kept == success -> BIT(named) : 0);
		goto undo }
	OR_CRASH
	fi;

undo:
	atomic { deleted = deleted | found; goto idle };

/* Who wakes up late and sends is in doubt from then on, and so is what it sends. */
#ifdef UNBOUNDED_PAUSE
#define SETTLED (HAS(settled, sent) && !HAS(flying, sent))
#else
#define SETTLED HAS(settled, sent)
#endif

look:                                           /* reconciler._look_once */
	if
#ifdef EARLY_LOOK
	:: atomic { ripe = true; goto see }
#else
	:: atomic { ripe = SETTLED; goto see }
#endif
	OR_CRASH
	fi;

#ifdef HIDDEN
#define NOTHING_SEEN true
#else
#define NOTHING_SEEN (SURVIVING == 0)
#endif

see:
	if
	:: atomic { SURVIVING != 0 -> found = FIRST(SURVIVING); goto adopt }
	:: atomic { NOTHING_SEEN && state == unknown -> goto idle }
	:: atomic { NOTHING_SEEN && state != unknown && !ripe -> goto look }
	:: atomic { NOTHING_SEEN && state != unknown && ripe -> decided = decided | BIT(sent); goto send_again }
	:: atomic { ripe && MAY_FAIL && faults > 0 -> faults--; goto give_up }  /* Nova does not tell */
	fi;

#ifdef OVERTAKEN_IS_LEFT
#define IF_OVERTAKEN idle
#else
#define IF_OVERTAKEN overtaken
#endif
#ifdef VAIN_IS_FORGOTTEN
#define AFTER_VAIN none
#else
#define AFTER_VAIN released                     /* it stands as long as a result */
#endif

send_again:                                     /* reconciler._send_again: unless that was long in vain */
	if
	:: goto begin
	:: atomic { MAY_COMMIT(me) -> write(me, AFTER_VAIN, NOBODY); goto idle }
	:: atomic { !MAY_COMMIT(me) -> goto IF_OVERTAKEN }
	fi;

adopt:
	if
	:: atomic { MAY_COMMIT(me) ->
		finish(me, success, found);
		if                              /* what an earlier send made was found first, maybe */
		:: !again && ((BIT(sent) - 2) & ~past) != 0 -> goto IF_OVERTAKEN
		:: else -> goto idle
		fi }
	:: atomic { !MAY_COMMIT(me) -> goto IF_OVERTAKEN }
	fi;

give_up:
	if
	:: atomic { MAY_COMMIT(me) -> write(me, unknown, NOBODY); goto idle }
	:: atomic { !MAY_COMMIT(me) -> goto IF_OVERTAKEN }
	fi
}

/* ---- a client's POST at a front: api/idempotent.py -------------------------------------------------------- */

#define MAY_CLAIM(who) (VACANT && (who == 4 || claimed))

/*
 * Only one that claims changes anything. The others are answered from the record, at any moment (see `told`).
 * The two are alike: let the first one claim first.
 */
proctype client(byte me)
{
end_away:
#ifdef CLAIM_IN_TWO_STEPS
	VACANT;
	atomic { claim(me) };
#else
	if
	:: atomic { MAY_CLAIM(me) -> claim(me) }
	:: atomic { MAY_CLAIM(me) && faults > 0 -> faults--;    /* sent more than once */
		claim(me);
		lying = lying | BIT(me);
		goto doubt }
	:: atomic { MAY_CLAIM(me) && faults > 0 -> faults--;    /* not carried out yet; nobody can tell */
		claimed = true;
		lying = lying | BIT(me);
		goto end }
	:: atomic { state == queued -> write(me, queued, owner); promised = true; hint = true; goto end }   /* _assure */
	fi;
	goto publish;
doubt:                                          /* etcd_fence.clear, before anybody hears of the claim */
	if
#ifdef UNFENCED_CLAIM
	:: goto publish
#else
	:: atomic { lying = lying & ~BIT(me); goto publish }
#endif
	:: goto end                             /* or nobody ever hears of it */
	fi;
#endif
publish:
	if
	:: atomic { hint = true; goto end }
	:: atomic { faults > 0 -> faults--; goto end }          /* confirmed, and lost; or the front dies */
	:: atomic { faults > 0 -> faults--; goto withdraw }     /* not confirmed, and not there */
	:: atomic { faults > 0 -> faults--; hint = true; goto withdraw }
	fi;
withdraw:
	if
#ifdef UNFENCED_FORGET
	:: atomic { write(0, none, NOBODY) }
#else
	:: atomic { HOLDS(me) -> write(0, none, NOBODY); haunted = haunted | (lying & BIT(me)) }
#endif
	:: atomic { !HOLDS(me) }
	fi;
end:
	atomic { holders = holders & ~BIT(me) }
}

/* ---- Nova, time, leases, and who steps in ----------------------------------------------------------------- */

#define NOVA(n) \
	:: atomic { HAS(flying, n) -> flying = flying & ~BIT(n); made = made | BIT(n); answers[n] = success } \
	:: atomic { HAS(flying, n) && faults > 0 -> faults--; \
		flying = flying & ~BIT(n); made = made | BIT(n); answers[n] = ambiguous } \
	:: atomic { HAS(flying, n) -> flying = flying & ~BIT(n); answers[n] = failure } \
	:: atomic { HAS(flying, n) && faults > 0 -> faults--; flying = flying & ~BIT(n); \
		answers[n] = no_effect; decided = decided | BIT(n) } \
	:: atomic { HAS(flying, n) && faults > 0 -> faults--; flying = flying & ~BIT(n); answers[n] = ambiguous }

/* The settle time passes before the latest send was dealt with: lost on its way, or a worker was paused. */
#define LATE (HAS(flying, sends) || about != 0)

#define LEASE(who) \
	:: atomic { LIVES(who) && faults > 0 -> faults--; alive = alive & ~BIT(who); lose_owner(who) } \
	:: atomic { !LIVES(who) -> alive = alive | BIT(who) }

/* An operator who says that it had no effect has looked, after the settle time. */
#ifdef CARELESS_OPERATOR
#define CERTAIN true
#else
#define CERTAIN (SURVIVING == 0)
#endif

/* It compares that nothing is there, and its process's fence. */
#define COPY(who) \
	:: atomic { HAS(lying, who) && state == none -> lying = lying & ~BIT(who); \
		claim(0); returned = returned || HAS(haunted, who) }

#ifdef CANCEL_SENDING
#define MAY_CANCEL AWAITED
#else
#define MAY_CANCEL (state == queued)
#endif

proctype world()
{
end_over:
	do
	NOVA(1)
#if FAULTS >= 1
	NOVA(2)
#endif
#if FAULTS >= 2
	NOVA(3)
#endif
#if FAULTS >= 3
	NOVA(4)
#endif
#if FAULTS >= 4
	NOVA(5)
#endif
	:: atomic { state == sending && !HAS(settled, sends) && !LATE -> settled = settled | BIT(sends) }
	:: atomic { state == sending && !HAS(settled, sends) && LATE && faults > 0 -> faults--;
		settled = settled | BIT(sends);
#ifndef LATE_COMMIT
		flying = flying & ~BIT(sends)
#endif
		}
	LEASE(1)
	LEASE(2)
	:: atomic { hint && faults > 0 -> faults--; hint = false }
	COPY(4)
	COPY(5)
	:: atomic { MAY_CANCEL && deeds > 0 -> deeds--; write(0, cancelled, NOBODY) }
	:: atomic { state == unknown && deeds > 0 && CERTAIN -> deeds--; finish(0, failure, 0) }
	:: atomic { state == unknown && deeds > 0 && CERTAIN -> deeds--;
		decided = decided | BIT(sends);
		write(0, queued, NOBODY) }
	:: atomic { state == unknown && deeds > 0 && SURVIVING != 0 -> deeds--;
		finish(0, success, FIRST(SURVIVING)) }
	od
}

init {
	atomic {
		run worker(1);
		run worker(2);
		run client(4);
		run client(5);
		run world()
	}
}
