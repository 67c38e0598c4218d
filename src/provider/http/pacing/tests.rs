//! The gate on a clock that tests move.

#![allow(clippy::unwrap_used)]
use super::*;

use crate::provider::http::tests::target;
use crate::scim::pace::{Rate, Rates};

fn gate_of(rate: Rate, rates: Rates, concurrency: usize) -> Arc<Gate> {
    let repetition = Repetition {
        attempts_max: 3,
        pause: Duration::from_millis(100),
    };
    let settings = Settings {
        rate,
        rates,
        concurrency,
        ..target::settings("http://localhost")
    };
    Arc::new(Gate::new(&settings, repetition))
}

fn gate(rate: u32, concurrency: usize) -> Arc<Gate> {
    gate_of(
        Rate::new(rate, 1, None).unwrap(),
        Rates::default(),
        concurrency,
    )
}

fn update(lane: Lane, repetition: bool) -> Asking {
    Asking {
        verb: Verb::Update,
        lane,
        repetition,
    }
}

/// Sends that many requests at once, each in flight for a while, and gives the times at which they left.
async fn departures(gate: &Arc<Gate>, requests: usize, in_flight: Duration) -> Vec<Instant> {
    let times = Arc::new(Mutex::new(Vec::new()));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..requests {
        let (gate, times) = (gate.clone(), times.clone());
        tasks.spawn(async move {
            let _permit = gate.enter(update(Lane::Ordinary, false)).await;
            times.lock().unwrap().push(Instant::now());
            tokio::time::sleep(in_flight).await;
        });
    }
    tasks.join_all().await;
    let mut times = Arc::try_unwrap(times).unwrap().into_inner().unwrap();
    times.sort();
    times
}

fn most_in_a_second(times: &[Instant]) -> usize {
    let within = |from: &Instant| {
        let until = *from + Duration::from_secs(1);
        times.iter().filter(|t| *t >= from && **t <= until).count()
    };
    times.iter().map(within).max().unwrap_or(0)
}

#[tokio::test(start_paused = true)]
async fn no_second_holds_more_than_the_rate_and_little_of_it_is_lost() {
    for rate in [1, 2, 7, 10, 49, 50, 99, 100, 333, 1_000] {
        let gate = gate(rate, 10_000);
        let begun = Instant::now();
        let times = departures(&gate, 1_000, Duration::ZERO).await;
        let most = most_in_a_second(&times);
        assert!(most <= rate as usize, "{most} at {rate}/s");
        let reached = 999.0 / (times[999] - begun).as_secs_f64();
        assert!(reached >= 0.93 * f64::from(rate), "{reached} of {rate}/s");
    }
}

#[tokio::test(start_paused = true)]
async fn after_a_rest_the_rate_holds_too() {
    let gate = gate(100, 10_000);
    let mut times = departures(&gate, 300, Duration::ZERO).await;
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    times.extend(departures(&gate, 300, Duration::ZERO).await);
    assert!(most_in_a_second(&times) <= 100);
}

#[tokio::test(start_paused = true)]
async fn no_more_requests_are_in_flight_than_allowed() {
    let gate = gate(10_000, 4);
    let begun = Instant::now();
    let times = departures(&gate, 40, Duration::from_millis(100)).await;
    for (at, time) in times.iter().enumerate() {
        let overlapping = times[..at]
            .iter()
            .filter(|other| *time - **other < Duration::from_millis(100))
            .count();
        assert!(overlapping < 4, "{overlapping} others in flight");
    }
    assert!(begun.elapsed() < Duration::from_millis(1_100));
}

#[tokio::test(start_paused = true)]
async fn urgent_requests_overtake_all_that_wait() {
    let gate = gate(10, 100);
    let order = Arc::new(Mutex::new(Vec::new()));
    let mut tasks = tokio::task::JoinSet::new();
    for lane in [Lane::Ordinary, Lane::Urgent] {
        for _ in 0..20 {
            let (gate, order) = (gate.clone(), order.clone());
            tasks.spawn(async move {
                let _permit = gate.enter(update(lane, false)).await;
                order.lock().unwrap().push(lane);
            });
        }
        // The ordinary ones have queued up, and five have left, when the urgent ones come.
        tokio::time::sleep(Duration::from_millis(450)).await;
    }
    tasks.join_all().await;
    let order = order.lock().unwrap();
    assert_eq!(order.len(), 40);
    assert_eq!(order[..5], [Lane::Ordinary; 5]);
    assert_eq!(order[5..25], [Lane::Urgent; 20]);
}

#[tokio::test(start_paused = true)]
async fn a_hold_stops_everything_until_its_time_even_those_that_wait_already() {
    let gate = gate(10, 100);
    drop(gate.enter(update(Lane::Ordinary, false)).await);
    let waiting = {
        let gate = gate.clone();
        tokio::spawn(async move { departures(&gate, 50, Duration::ZERO).await })
    };
    tokio::task::yield_now().await;
    let asked = Instant::now();
    gate.hold(Some(Duration::from_secs(30)));
    // A shorter wish does not end a longer pause.
    gate.hold(Some(Duration::from_secs(1)));
    drop(gate.enter(update(Lane::Urgent, true)).await);
    assert!(asked.elapsed() >= Duration::from_secs(30));
    let times = waiting.await.unwrap();
    let early = times
        .iter()
        .filter(|t| **t < asked + Duration::from_secs(30));
    assert_eq!(early.count(), 0);
    assert!(times[49] < asked + Duration::from_secs(42));
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_pauses_are_all_kept() {
    let gate = gate(100, 64);
    let log = Arc::new(Mutex::new((Vec::new(), Vec::new())));
    let mut tasks = tokio::task::JoinSet::new();
    for worker in 0..100_u64 {
        let (gate, log) = (gate.clone(), log.clone());
        tasks.spawn(async move {
            for round in 0..100 {
                let permit = gate.enter(update(Lane::Ordinary, round % 2 == 1)).await;
                log.lock().unwrap().0.push(Instant::now());
                tokio::time::sleep(Duration::from_millis(worker + round)).await;
                let pause = Duration::from_millis(100 * (1 + (worker * round) % 30));
                let now = Instant::now();
                gate.hold(Some(pause));
                log.lock().unwrap().1.push((now, now + pause));
                drop(permit);
            }
        });
    }
    tasks.join_all().await;
    let log = log.lock().unwrap();
    assert_eq!((log.0.len(), log.1.len()), (10_000, 10_000));
    let early = |time: &Instant| {
        log.1
            .iter()
            .any(|(from, until)| from < time && time < until)
    };
    assert_eq!(log.0.iter().filter(|time| early(time)).count(), 0);
    assert!(most_in_a_second(&log.0) <= 100);
}

#[tokio::test(start_paused = true)]
async fn unexplained_pauses_grow_until_the_target_answers_again() {
    let gate = gate(1_000, 100);
    let mut pauses = Vec::new();
    for _ in 0..3 {
        // Ten answers at once are one sign, not ten.
        (0..10).for_each(|_| gate.hold(None));
        let begun = Instant::now();
        drop(gate.enter(update(Lane::Ordinary, false)).await);
        pauses.push(begun.elapsed().as_millis());
    }
    for (pause, least) in pauses.iter().zip([100, 200, 400]) {
        assert!((least..=least * 3 / 2 + 1).contains(pause), "{pauses:?}");
    }
    gate.flowing();
    let begun = Instant::now();
    gate.hold(None);
    drop(gate.enter(update(Lane::Ordinary, false)).await);
    assert!(begun.elapsed() <= Duration::from_millis(151));
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_given_up_holds_nobody_up() {
    let gate = gate(1_000, 1);
    let held = gate.enter(update(Lane::Ordinary, false)).await;
    let given_up = tokio::time::timeout(
        Duration::from_millis(10),
        gate.enter(update(Lane::Urgent, false)),
    );
    assert!(given_up.await.is_err());
    drop(held);
    let next = tokio::time::timeout(
        Duration::from_millis(10),
        gate.enter(update(Lane::Ordinary, false)),
    );
    assert!(next.await.is_ok());
}

/// Sends that many requests of each of these verbs at once, and gives the times at which they left, by verb.
async fn departures_of(gate: &Arc<Gate>, verbs: &[(Verb, usize)]) -> Vec<Vec<Instant>> {
    let mut tasks = tokio::task::JoinSet::new();
    for (at, (verb, requests)) in verbs.iter().enumerate() {
        for _ in 0..*requests {
            let (gate, asking) = (
                gate.clone(),
                Asking {
                    verb: *verb,
                    ..update(Lane::Ordinary, false)
                },
            );
            tasks.spawn(async move {
                let _permit = gate.enter(asking).await;
                (at, Instant::now())
            });
        }
    }
    let mut times = vec![Vec::new(); verbs.len()];
    for (at, time) in tasks.join_all().await {
        times[at].push(time);
    }
    times.iter_mut().for_each(|times| times.sort());
    times
}

#[tokio::test(start_paused = true)]
async fn a_burst_leaves_at_once_after_a_rest_and_no_second_holds_more_than_the_rate() {
    for (rate, burst) in [(20, 20), (20, 5), (100, 60), (3, 2), (1_000, 1_000)] {
        let gate = gate_of(
            Rate::new(rate, 1, Some(burst)).unwrap(),
            Rates::default(),
            10_000,
        );
        let mut all = Vec::new();
        for rest in [0, 700, 5_000] {
            tokio::time::sleep(Duration::from_millis(rest)).await;
            let begun = Instant::now();
            let times = departures(&gate, 200, Duration::ZERO).await;
            let at_once = times.iter().filter(|time| **time == begun).count();
            if rest != 700 {
                assert_eq!(at_once, burst.min(200) as usize, "{burst} of {rate}/s");
            }
            all.extend(times);
        }
        let most = most_in_a_second(&all);
        assert!(
            most <= rate as usize,
            "{most} at {rate}/s with a burst of {burst}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_limit_of_one_verb_is_kept_in_each_of_its_windows_and_holds_no_other_verb_up() {
    let rates = Rates {
        create: Some(Rate::new(180, 60, Some(20)).unwrap()),
        delete: Some(Rate::new(1, 1, None).unwrap()),
        ..Rates::default()
    };
    let gate = gate_of(Rate::new(50, 1, None).unwrap(), rates, 1_000);
    let begun = Instant::now();
    let verbs = [
        (Verb::Create, 400),
        (Verb::Delete, 10),
        (Verb::Update, 200),
        (Verb::Read, 200),
    ];
    let times = departures_of(&gate, &verbs).await;
    let windows = times[0].windows(181);
    let shortest = windows.map(|window| window[180] - window[0]).min().unwrap();
    assert!(
        shortest > Duration::from_secs(60),
        "181 creates in {shortest:?}"
    );
    assert!(times[0][399] - begun < Duration::from_secs(140));
    assert!(most_in_a_second(&times[1]) <= 1);
    // Reads and updates take all that is left of the tenant's rate.
    for free in &times[2..] {
        assert!(free[199] - begun < Duration::from_secs(10));
    }
    assert!(most_in_a_second(&times.concat()) <= 50);
}

#[tokio::test(start_paused = true)]
async fn a_leaver_does_not_wait_behind_creates_that_wait_for_their_limit() {
    let rates = Rates {
        create: Some(Rate::new(1, 10, None).unwrap()),
        ..Rates::default()
    };
    let gate = gate_of(Rate::new(20, 1, None).unwrap(), rates, 4);
    let creates = {
        let gate = gate.clone();
        tokio::spawn(async move { departures_of(&gate, &[(Verb::Create, 5)]).await })
    };
    tokio::time::sleep(Duration::from_secs(1)).await;
    let begun = Instant::now();
    for lane in [Lane::Urgent, Lane::Ordinary] {
        drop(gate.enter(update(lane, false)).await);
    }
    assert!(begun.elapsed() < Duration::from_millis(150));
    assert!(!creates.is_finished());
    let creates = creates.await.unwrap().remove(0);
    assert!(creates[4] - creates[0] >= Duration::from_secs(40));
}

#[tokio::test(start_paused = true)]
async fn throttling_halves_the_pace_and_success_brings_it_back_little_by_little() {
    let gate = gate(64, 100);
    let reached = async |requests: u32| {
        let begun = Instant::now();
        for _ in 0..=requests {
            drop(gate.enter(update(Lane::Ordinary, false)).await);
        }
        (f64::from(requests) / begun.elapsed().as_secs_f64()).round()
    };
    reached(2).await;
    let mut paces = Vec::new();
    for _ in 0..7 {
        // Ten answers at once are one sign, not ten.
        (0..10).for_each(|_| gate.hold(Some(Duration::from_secs(1))));
        tokio::time::sleep(Duration::from_secs(2)).await;
        paces.push(reached(20).await);
    }
    // Timers of a millisecond cost a little.
    for (pace, wanted) in paces.iter().zip([32.0, 16.0, 8.0, 4.0, 2.0, 2.0, 2.0]) {
        assert!((wanted - 1.0..=wanted).contains(pace), "{paces:?}");
    }
    let (begun, mut seconds, mut times) = (Instant::now(), 0, Vec::new());
    while !gate.lock().pace.is_full() {
        drop(gate.enter(update(Lane::Ordinary, false)).await);
        times.push(Instant::now());
        gate.flowing();
        seconds = begun.elapsed().as_secs();
    }
    assert!((28..=36).contains(&seconds), "{seconds}");
    assert!(most_in_a_second(&times) <= 64);
    assert!((60.0..=64.0).contains(&reached(640).await));
}

#[tokio::test(start_paused = true)]
async fn answers_that_take_longer_mean_fewer_requests_in_flight_until_they_are_short_again() {
    let gate = gate(100_000, 16);
    let places = || gate.lock().room.requests();
    let answer = async |milliseconds| {
        tokio::time::sleep(Duration::from_millis(50)).await;
        gate.took(Verb::Update, false, Duration::from_millis(milliseconds));
    };
    for _ in 0..100 {
        answer(20).await;
    }
    // Three times as long, but short; and a single one that is long.
    for milliseconds in [60, 60, 60, 60, 60, 60, 60, 900, 20, 20, 20, 20, 20] {
        answer(milliseconds).await;
    }
    assert_eq!(places(), 16.0);
    for _ in 0..200 {
        answer(900).await;
    }
    assert_eq!(places(), 1.0);
    // Others come while the first is in flight.
    let held = gate.enter(update(Lane::Ordinary, false)).await;
    let second = tokio::time::timeout(
        Duration::from_secs(9),
        gate.enter(update(Lane::Urgent, false)),
    );
    assert!(second.await.is_err(), "two are in flight");
    drop(held);
    for _ in 0..200 {
        answer(20).await;
    }
    assert_eq!(places(), 16.0);
    // What stays so is usual in the end, and one kind of request says nothing of another.
    for _ in 0..5_000 {
        answer(100).await;
        gate.took(Verb::Create, true, Duration::from_secs(1));
    }
    assert_eq!(places(), 16.0);
    for _ in 0..3_000 {
        answer(700).await;
    }
    assert_eq!(places(), 16.0);
}
